// A text that was changed on its way to the model, with the way back: every byte knows the stretch
// of the original text that it stands for. Removed characters leave no byte; an inserted one stands
// for the character that it was inserted at; all bytes of one character stand for the same stretch.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

// Bytes [begin, end).
struct ByteRange {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// A part of an AlignedText; `source` has one entry a byte.
struct AlignedView {
  std::string_view bytes;
  std::span<const ByteRange> source;

  AlignedView Slice(ByteRange range) const {
    const uint32_t size = range.end - range.begin;
    return {.bytes = bytes.substr(range.begin, size), .source = source.subspan(range.begin, size)};
  }

  // The stretch of the original text that a non-empty range stands for.
  ByteRange Source(ByteRange range) const {
    return {.begin = source[range.begin].begin, .end = source[range.end - 1].end};
  }
};

struct AlignedText {
  std::string bytes;
  std::vector<ByteRange> source;

  AlignedView View() const { return {.bytes = bytes, .source = source}; }
  void Reserve(size_t size);
  void Append(char32_t c, ByteRange from);
  void Append(AlignedView part);
};

// `text`, valid UTF-8 that starts at byte `origin` of the original, unchanged.
AlignedText Unchanged(std::string_view text, uint32_t origin);

// `text` with `prefix` in front, which stands for the first character; nothing goes before nothing.
AlignedText Prepended(AlignedView text, std::string_view prefix);

// `text` with `content` wherever `pattern` (not empty) was, from left to right.
AlignedText Replaced(AlignedView text, std::string_view pattern, std::string_view content);

}  // namespace coppice
