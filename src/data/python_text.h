// Text as Python's str sees it. SQuAD's official metrics are a Python script, so white space, word
// characters and lower case must mean what they mean there. ICU's nearest predicates differ in
// no-break spaces, in the separators U+001C to U+001F and in combining marks, so these are spelled
// out.
//
// Also here: checking UTF-8, and counting and finding code points, which is how SQuAD counts.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace coppice {

bool IsPythonSpace(char32_t c);  // str.isspace(), what str.split() and str.lstrip() go by
bool IsPythonWord(char32_t c);   // \w of the module re

// str.lower(): the full mapping, which may lengthen text (U+0130) and looks at neighbours (final
// sigma). Code points, because all that follows a lower-casing looks at single ones.
std::u32string PythonLower(std::string_view text);

// str.lstrip().
std::string_view WithoutLeadingSpace(std::string_view text);

// Where the first sequence that is not UTF-8 begins; nullopt if there is none.
std::optional<size_t> FirstInvalidByte(std::string_view text);

// Number of code points of valid UTF-8.
size_t CountCodePoints(std::string_view text);

// The byte at which code point `index` begins; the text's size for the index just past the last
// one; nullopt beyond that.
std::optional<size_t> ByteOfCodePoint(std::string_view text, size_t index);

}  // namespace coppice
