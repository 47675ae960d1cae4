// Code points and their classes, as the tokenizers library sees them.
//
// That library takes its classes from several places, and ids depend on each: categories (control,
// punctuation, non-spacing mark) come from Unicode 8, canonical decomposition from Unicode 9,
// letters, numbers, white space and lower case from a recent Unicode. ICU knows in which version a
// code point was assigned, so its tables are cut back to the older version here, with the few code
// points whose category changed afterwards listed in unicode.cc. Code points newer than the ICU at
// hand count as unassigned.
#pragma once

#include <unicode/normalizer2.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

bool IsValidUtf8(std::string_view text);

// Valid UTF-8 made of any bytes: each maximal ill-formed sequence becomes one U+FFFD.
struct RepairedText {
  std::string bytes;
  // For every position of `bytes`, its end included: the position in the text that was given.
  std::vector<uint32_t> origin;
};
RepairedText RepairUtf8(std::string_view text);

// The functions below take valid UTF-8 and, as `position`, a boundary between two code points.

// The code point at `position`, which moves behind it.
char32_t NextCodePoint(std::string_view text, size_t& position);
// The code point before `position`, which moves in front of it.
char32_t PreviousCodePoint(std::string_view text, size_t& position);
void AppendUtf8(char32_t c, std::string& out);

bool IsSpace(char32_t c);                 // White_Space
bool IsLetter(char32_t c);                // L
bool IsNumber(char32_t c);                // N
bool IsWordCharacter(char32_t c);         // \w of a Unicode regular expression
bool IsOther(char32_t c);                 // Cc, Cf, Co
bool IsPunctuation(char32_t c);           // P, or ASCII punctuation
bool HasPunctuationCategory(char32_t c);  // P of a recent Unicode
bool IsNonspacingMark(char32_t c);        // Mn
bool IsCjkIdeograph(char32_t c);          // the blocks that BERT puts spaces around
uint8_t CombiningClass(char32_t c);       // for canonical ordering
char32_t ToLower(char32_t c);             // one to one; see BertNormalizer for the one that is not

// The full canonical decomposition of one code point.
class CanonicalDecomposer {
 public:
  CanonicalDecomposer();
  // False when `c` stands for itself; else fills `out`.
  bool Decompose(char32_t c, std::u32string& out) const;

 private:
  const icu::Normalizer2* nfd_;  // owned by ICU
};

}  // namespace coppice
