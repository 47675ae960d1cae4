#include "tokenize/aligned_text.h"

#include "tokenize/unicode.h"

namespace coppice {

void AlignedText::Reserve(size_t size) {
  bytes.reserve(size);
  source.reserve(size);
}

void AlignedText::Append(char32_t c, ByteRange from) {
  if (c < 0x80) {
    bytes.push_back(static_cast<char>(c));
    source.push_back(from);
    return;
  }
  AppendUtf8(c, bytes);
  source.resize(bytes.size(), from);
}

AlignedText Unchanged(std::string_view text, uint32_t origin) {
  AlignedText aligned;
  aligned.bytes = text;
  aligned.source.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto begin = static_cast<uint32_t>(i);
    NextCodePoint(text, i);
    aligned.source.resize(i, {.begin = origin + begin, .end = origin + static_cast<uint32_t>(i)});
  }
  return aligned;
}

}  // namespace coppice
