#include "tokenize/bert_normalizer.h"

#include <algorithm>
#include <vector>

namespace coppice {
namespace {

constexpr char32_t kCapitalIWithDot = 0x130;  // the one character with two in lower case
constexpr char32_t kDotAbove = 0x307;

bool IsRemoved(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  if (c < 0x80) return c < 0x20 || c == 0x7F;
  return c == 0xFFFD || IsOther(c);
}

}  // namespace

// The last two steps, character by character. Decomposed marks wait until the next starter, since
// canonical order sorts them.
class BertNormalizer::Writer {
 public:
  Writer(const BertNormalizer& normalizer, AlignedText& out) : normalizer_(normalizer), out_(out) {}

  void Write(char32_t c, ByteRange from) {
    if (!normalizer_.strip_accents_) {
      Emit(c, from);
    } else if (!normalizer_.decomposer_.Decompose(c, decomposition_)) {
      Order({.c = c, .from = from});
    } else {
      for (size_t i = 0; i < decomposition_.size(); ++i) {
        Order({.c = decomposition_[i], .from = from, .inserted = i > 0});
      }
    }
  }

  void Flush() {
    if (waiting_.empty()) return;
    // Sorting moves characters, not places: as in the library, the n-th character that replaces one
    // stands for the n-th that was replaced, and an inserted one for what is before it.
    std::vector<ByteRange> places;
    for (const Mark& mark : waiting_) {
      if (!mark.inserted) places.push_back(mark.from);
    }
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [](const Mark& a, const Mark& b) { return a.order < b.order; });
    size_t next = 0;
    for (const Mark& mark : waiting_) {
      if (!mark.inserted) place_ = places[next++];
      EmitUnlessMark(mark.c, place_);
    }
    waiting_.clear();
  }

 private:
  struct Mark {
    char32_t c = 0;
    ByteRange from = {};
    bool inserted = false;  // not the first of its decomposition
    uint8_t order = 0;      // combining class
  };

  void Order(Mark mark) {
    mark.order = CombiningClass(mark.c);
    if (mark.order > 0) {
      waiting_.push_back(mark);
      return;
    }
    Flush();
    if (!mark.inserted) place_ = mark.from;
    EmitUnlessMark(mark.c, place_);
  }

  void EmitUnlessMark(char32_t c, ByteRange from) {
    if (c < 0x80 || !IsNonspacingMark(c)) Emit(c, from);
  }

  void Emit(char32_t c, ByteRange from) {
    if (!normalizer_.lower_case_) {
      out_.Append(c, from);
    } else if (c < 0x80) {
      out_.Append(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c, from);
    } else if (c == kCapitalIWithDot) {
      out_.Append('i', from);
      out_.Append(kDotAbove, from);
    } else {
      out_.Append(ToLower(c), from);
    }
  }

  const BertNormalizer& normalizer_;
  AlignedText& out_;
  std::u32string decomposition_;
  std::vector<Mark> waiting_;
  ByteRange place_;
};

BertNormalizer::BertNormalizer(const JsonNode& node)
    : clean_text_(node.Get("clean_text").Bool()),
      space_ideographs_(node.Get("handle_chinese_chars").Bool()),
      lower_case_(node.Get("lowercase").Bool()) {
  const std::optional<JsonNode> strip_accents = node.Find("strip_accents");
  strip_accents_ = strip_accents ? strip_accents->Bool() : lower_case_;
}

AlignedText BertNormalizer::Normalize(std::string_view text, uint32_t origin) const {
  AlignedText out;
  out.Reserve(text.size());
  Writer writer(*this, out);
  for (size_t i = 0; i < text.size();) {
    ByteRange from = {.begin = origin + static_cast<uint32_t>(i)};
    char32_t c = NextCodePoint(text, i);
    from.end = origin + static_cast<uint32_t>(i);
    if (clean_text_) {
      if (IsRemoved(c)) continue;
      if (IsSpace(c)) c = ' ';
    }
    const bool spaced = space_ideographs_ && IsCjkIdeograph(c);
    if (spaced) writer.Write(' ', from);
    writer.Write(c, from);
    if (spaced) writer.Write(' ', from);
  }
  writer.Flush();
  return out;
}

}  // namespace coppice
