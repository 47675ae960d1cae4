#include "tokenize/canonical_composer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

// Below it, nothing changes and nothing joins what is before it.
constexpr char32_t kFirstMark = 0x300;

// Bytes from which on a sequence is sorted before ICU sees it, which sorts by insertion.
constexpr size_t kLongSequence = 256;

// A sequence decomposed, its marks in canonical order.
icu::UnicodeString Sorted(const CanonicalDecomposer& decomposer, std::string_view sequence) {
  struct Character {
    char32_t c;
    uint8_t order;
  };
  std::vector<Character> characters;
  std::u32string decomposition;
  for (size_t i = 0; i < sequence.size();) {
    const char32_t c = NextCodePoint(sequence, i);
    if (!decomposer.Decompose(c, decomposition)) decomposition = c;
    for (const char32_t part : decomposition) characters.push_back({part, CombiningClass(part)});
  }
  const auto is_starter = [](const Character& each) { return each.order == 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto end = std::find_if(begin + 1, characters.end(), is_starter);
    std::stable_sort(begin, end, [](auto a, auto b) { return a.order < b.order; });
    begin = end;
  }
  icu::UnicodeString sorted;
  for (const Character& each : characters) sorted.append(static_cast<UChar32>(each.c));
  return sorted;
}

}  // namespace

CanonicalComposer::CanonicalComposer() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* const nfc = icu::Normalizer2::getNFCInstance(status);
  auto known = std::make_shared<icu::UnicodeSet>(u"[:age=9.0:]", status);
  Check(U_SUCCESS(status) && nfc != nullptr, "ICU has no NFC data");
  known->freeze();
  known_ = known;
  nfc_ = std::make_shared<icu::FilteredNormalizer2>(*nfc, *known_);
}

AlignedText CanonicalComposer::Compose(AlignedView text) const {
  AlignedText out;
  out.Reserve(text.bytes.size());
  for (size_t begin = 0; begin < text.bytes.size();) {
    const size_t end = SequenceEnd(text.bytes, begin);
    const ByteRange range = {.begin = static_cast<uint32_t>(begin),
                             .end = static_cast<uint32_t>(end)};
    const AlignedView given = text.Slice(range);
    begin = end;
    size_t position = 0;
    if (NextCodePoint(given.bytes, position) < kFirstMark && position == given.bytes.size()) {
      out.Append(given);
      continue;
    }
    UErrorCode status = U_ZERO_ERROR;
    std::string composed;
    const icu::UnicodeString sequence = given.bytes.size() < kLongSequence
                                            ? icu::UnicodeString::fromUTF8(given.bytes)
                                            : Sorted(decomposer_, given.bytes);
    nfc_->normalize(sequence, status).toUTF8String(composed);
    Check(U_SUCCESS(status), "ICU cannot compose");
    if (composed == given.bytes) {
      out.Append(given);
    } else {
      out.bytes += composed;
      out.source.resize(out.bytes.size(), text.Source(range));
    }
  }
  return out;
}

// The end of the sequence at `begin` that composes on its own.
size_t CanonicalComposer::SequenceEnd(std::string_view text, size_t begin) const {
  size_t end = begin;
  NextCodePoint(text, end);
  for (size_t next = end; next < text.size(); end = next) {
    const char32_t c = NextCodePoint(text, next);
    if (c < kFirstMark || nfc_->hasBoundaryBefore(static_cast<UChar32>(c))) break;
  }
  return end;
}

}  // namespace coppice
