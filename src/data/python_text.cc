#include "data/python_text.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

namespace coppice {
namespace {

bool Continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The code point at `i`, which moves on to the next; negative where there is no valid one.
UChar32 NextCodePoint(std::string_view text, size_t& i) {
  // ICU's macro counts in int32_t, and no code point is longer than U8_MAX_LENGTH.
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data()) + i;
  const auto rest = static_cast<int32_t>(std::min<size_t>(text.size() - i, U8_MAX_LENGTH));
  int32_t length = 0;
  UChar32 c = 0;
  U8_NEXT(bytes, length, rest, c);
  i += static_cast<size_t>(length);
  return c;
}

icu::StringPiece Piece(std::string_view text) {
  return {text.data(), static_cast<int32_t>(text.size())};
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  // U+001C..1F are spaces by their bidirectional class; Unicode's White_Space property leaves them
  // out.
  return (c >= 0x1C && c <= 0x1F) || u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool IsPythonWord(char32_t c) {
  const auto point = static_cast<UChar32>(c);
  return c == U'_' || u_isalpha(point) != 0 ||
         u_getIntPropertyValue(point, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

std::u32string PythonLower(std::string_view text) {
  icu::UnicodeString lower = icu::UnicodeString::fromUTF8(Piece(text));
  lower.toLower(icu::Locale::getRoot());
  std::u32string points;
  points.reserve(static_cast<size_t>(lower.length()));
  for (int32_t i = 0; i < lower.length(); i = lower.moveIndex32(i, 1)) {
    points.push_back(static_cast<char32_t>(lower.char32At(i)));
  }
  return points;
}

std::string_view WithoutLeadingSpace(std::string_view text) {
  size_t begin = 0;
  for (size_t next = 0; next < text.size(); begin = next) {
    const UChar32 c = NextCodePoint(text, next);
    if (c < 0 || !IsPythonSpace(static_cast<char32_t>(c))) break;
  }
  return text.substr(begin);
}

std::optional<size_t> FirstInvalidByte(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (NextCodePoint(text, i) < 0) return begin;
  }
  return std::nullopt;
}

size_t CountCodePoints(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += Continues(byte) ? 0 : 1;
  return count;
}

std::optional<size_t> ByteOfCodePoint(std::string_view text, size_t index) {
  for (size_t byte = 0; byte < text.size(); ++byte) {
    if (Continues(text[byte])) continue;
    if (index == 0) return byte;
    --index;
  }
  return index == 0 ? std::optional(text.size()) : std::nullopt;
}

}  // namespace coppice
