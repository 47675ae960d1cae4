#include "tokenize/pre_tokenizer.h"

#include <array>

#include "tokenize/unicode.h"

namespace coppice {
namespace {

void AddWord(size_t begin, size_t end, std::vector<ByteRange>& words) {
  if (begin == end) return;
  words.push_back({.begin = static_cast<uint32_t>(begin), .end = static_cast<uint32_t>(end)});
}

void KeepWhole(std::string_view text, std::vector<ByteRange>& words) {
  AddWord(0, text.size(), words);
}

enum class Gpt2Class { kLetter, kNumber, kSpace, kRest };

Gpt2Class ClassOf(char32_t c) {
  if (c < 0x80) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return Gpt2Class::kLetter;
    if (c >= '0' && c <= '9') return Gpt2Class::kNumber;
    return c == ' ' || (c >= '\t' && c <= '\r') ? Gpt2Class::kSpace : Gpt2Class::kRest;
  }
  if (IsLetter(c)) return Gpt2Class::kLetter;
  if (IsNumber(c)) return Gpt2Class::kNumber;
  return IsSpace(c) ? Gpt2Class::kSpace : Gpt2Class::kRest;
}

// The end of the run of characters of one class that starts at `begin`.
struct Run {
  Gpt2Class type;
  size_t end;
  size_t last;  // where its last character begins
};
Run RunAt(std::string_view text, size_t begin) {
  size_t i = begin;
  Run run = {.type = ClassOf(NextCodePoint(text, i)), .end = i, .last = begin};
  while (i < text.size()) {
    const size_t start = i;
    if (ClassOf(NextCodePoint(text, i)) != run.type) break;
    run.end = i;
    run.last = start;
  }
  return run;
}

size_t ContractionLength(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t",  "'re", "'ve",
                                                                    "'m", "'ll", "'d"};
  for (const std::string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  return 0;
}

}  // namespace

PreTokenizer ReadBertPreTokenizer(const JsonNode& /*node*/) { return {.split = SplitAsBert}; }

PreTokenizer ReadByteLevelPreTokenizer(const JsonNode& node) {
  const std::optional<JsonNode> use_regex = node.Find("use_regex");
  return {.add_prefix_space = node.Get("add_prefix_space").Bool(),
          .split = !use_regex || use_regex->Bool() ? SplitAsGpt2 : KeepWhole};
}

void SplitAsBert(std::string_view text, std::vector<ByteRange>& words) {
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t c = NextCodePoint(text, i);
    const bool space = IsSpace(c);
    if (!space && !IsPunctuation(c)) continue;
    AddWord(begin, start, words);
    if (!space) AddWord(start, i, words);
    begin = i;
  }
  AddWord(begin, text.size(), words);
}

// The regular expression
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// read as: a contraction; else a run of one class, with one space before it if there is one; of a
// run of white space before something else, the last character is left for what follows.
void SplitAsGpt2(std::string_view text, std::vector<ByteRange>& words) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + ContractionLength(text.substr(begin));
    if (end == begin) {
      const Run run = RunAt(text, begin);
      end = run.end;
      if (run.type == Gpt2Class::kSpace && end < text.size()) {
        if (run.last > begin) {
          end = run.last;
        } else if (text[begin] == ' ') {
          end = RunAt(text, end).end;
        }
      }
    }
    AddWord(begin, end, words);
    begin = end;
  }
}

}  // namespace coppice
