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

void AlignedText::Append(AlignedView part) {
  bytes += part.bytes;
  source.insert(source.end(), part.source.begin(), part.source.end());
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

AlignedText Prepended(AlignedView text, std::string_view prefix) {
  AlignedText out;
  if (text.bytes.empty()) return out;
  out.Reserve(prefix.size() + text.bytes.size());
  out.bytes = prefix;
  out.source.assign(prefix.size(), text.source[0]);
  out.Append(text);
  return out;
}

AlignedText Replaced(AlignedView text, std::string_view pattern, std::string_view content) {
  AlignedText out;
  out.Reserve(text.bytes.size());
  const auto range = [](size_t begin, size_t end) -> ByteRange {
    return {.begin = static_cast<uint32_t>(begin), .end = static_cast<uint32_t>(end)};
  };
  size_t done = 0;
  for (size_t at = text.bytes.find(pattern); at != std::string_view::npos;
       at = text.bytes.find(pattern, done)) {
    out.Append(text.Slice(range(done, at)));
    done = at + pattern.size();
    out.bytes += content;
    out.source.resize(out.bytes.size(), text.Source(range(at, done)));
  }
  out.Append(text.Slice(range(done, text.bytes.size())));
  return out;
}

}  // namespace coppice
