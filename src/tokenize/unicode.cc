#include "tokenize/unicode.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace coppice {
namespace {

constexpr uint8_t kCategoryVersion = 8;
constexpr uint8_t kNormalizationVersion = 9;

UChar32 Icu(char32_t c) { return static_cast<UChar32>(c); }

bool AssignedBy(char32_t c, uint8_t version) {
  UVersionInfo age;
  u_charAge(Icu(c), age);
  return age[0] != 0 && (age[0] < version || (age[0] == version && age[1] == 0));
}

bool HasCategory(char32_t c, uint32_t mask) { return (U_GET_GC_MASK(Icu(c)) & mask) != 0; }

bool HasOldCategory(char32_t c, uint32_t mask) {
  return HasCategory(c, mask) && AssignedBy(c, kCategoryVersion);
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const size_t size = text.size();
  for (size_t i = 0; i < size;) {
    if (bytes[i] < 0x80) {
      ++i;
      continue;
    }
    int32_t position = 0;
    const auto rest = static_cast<int32_t>(std::min<size_t>(size - i, U8_MAX_LENGTH));
    UChar32 c = 0;
    U8_NEXT(bytes + i, position, rest, c);
    if (c < 0) return false;
    i += static_cast<size_t>(position);
  }
  return true;
}

RepairedText RepairUtf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  RepairedText repaired;
  for (size_t i = 0; i < text.size();) {
    int32_t position = 0;
    const auto rest = static_cast<int32_t>(std::min<size_t>(text.size() - i, U8_MAX_LENGTH));
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(bytes + i, position, rest, c);
    AppendUtf8(static_cast<char32_t>(c), repaired.bytes);
    repaired.origin.resize(repaired.bytes.size(), static_cast<uint32_t>(i));
    i += static_cast<size_t>(position);
  }
  repaired.origin.push_back(static_cast<uint32_t>(text.size()));
  return repaired;
}

char32_t NextCodePoint(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    position += 1;
    return lead;
  }
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t c = lead & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) c = (c << 6) | (byte(i) & 0x3FU);
  position += length;
  return c;
}

char32_t PreviousCodePoint(std::string_view text, size_t& position) {
  do {
    --position;
  } while ((static_cast<uint8_t>(text[position]) & 0xC0) == 0x80);
  size_t start = position;
  return NextCodePoint(text, start);
}

void AppendUtf8(char32_t c, std::string& out) {
  std::array<uint8_t, U8_MAX_LENGTH> bytes{};
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes.data(), length, c);
  out.append(reinterpret_cast<const char*>(bytes.data()), length);
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(Icu(c));
}

bool IsLetter(char32_t c) { return HasCategory(c, U_GC_L_MASK); }

bool IsNumber(char32_t c) { return HasCategory(c, U_GC_N_MASK); }

bool IsWordCharacter(char32_t c) {
  return HasCategory(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) || u_isUAlphabetic(Icu(c)) ||
         u_hasBinaryProperty(Icu(c), UCHAR_JOIN_CONTROL);
}

bool IsOther(char32_t c) { return HasOldCategory(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK); }

bool IsPunctuation(char32_t c) {
  if (c < 0x80) {
    const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    return c > 0x20 && c < 0x7F && !letter && (c < '0' || c > '9');
  }
  // Punctuation in Unicode 8, a symbol and a mark today.
  if (c == 0x166D || c == 0x111C9) return true;
  return HasOldCategory(c, U_GC_P_MASK);
}

bool HasPunctuationCategory(char32_t c) { return HasCategory(c, U_GC_P_MASK); }

bool IsNonspacingMark(char32_t c) {
  // In Unicode 8: a mark, then punctuation, two letters and a spacing mark.
  if (c == 0x1734) return true;
  if (c == 0x111C9 || c == 0x1885 || c == 0x1886 || c == 0xA9BD) return false;
  return HasOldCategory(c, U_GC_MN_MASK);
}

bool IsCjkIdeograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

uint8_t CombiningClass(char32_t c) {
  if (c < 0x300) return 0;
  const uint8_t combining_class = u_getCombiningClass(Icu(c));
  return combining_class > 0 && AssignedBy(c, kNormalizationVersion) ? combining_class : 0;
}

char32_t ToLower(char32_t c) { return static_cast<char32_t>(u_tolower(Icu(c))); }

CanonicalDecomposer::CanonicalDecomposer() {
  UErrorCode status = U_ZERO_ERROR;
  nfd_ = icu::Normalizer2::getNFDInstance(status);
  Check(U_SUCCESS(status) && nfd_ != nullptr, "ICU has no NFD data");
}

bool CanonicalDecomposer::Decompose(char32_t c, std::u32string& out) const {
  icu::UnicodeString decomposition;
  if (c < 0xC0 || !nfd_->getDecomposition(Icu(c), decomposition)) return false;
  if (!AssignedBy(c, kNormalizationVersion)) return false;
  out.clear();
  for (int32_t i = 0; i < decomposition.length(); i = decomposition.moveIndex32(i, 1)) {
    out.push_back(static_cast<char32_t>(decomposition.char32At(i)));
  }
  return true;
}

}  // namespace coppice
