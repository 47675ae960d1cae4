// The ways of cutting a text into words. Each takes valid UTF-8 and appends the words in order,
// none of them empty; in all but BERT's, every byte belongs to a word.
//
// Those that a file writes as a regular expression are known by its exact text and written out by
// hand, since each regular-expression engine has its own idea of \s, \p{L} and upper case.
#pragma once

#include <string_view>
#include <vector>

#include "tokenize/aligned_text.h"

namespace coppice {

// What SentencePiece writes for a space, U+2581.
inline constexpr std::string_view kSpaceMark = "\u2581";

using WordSplit = void (*)(std::string_view text, std::vector<ByteRange>& words);

// The split that a regular expression stands for; null when it is not known.
WordSplit FindSplit(std::string_view regex);
// The way back; empty for a split that is not known as a regular expression.
std::string_view RegexOf(WordSplit split);

// White space is dropped, every punctuation mark stands alone.
void SplitAsBert(std::string_view text, std::vector<ByteRange>& words);
// Contractions, and runs of letters, of numbers and of the rest, each with a space before it.
void SplitAsGpt2(std::string_view text, std::vector<ByteRange>& words);
// The same, but numbers have at most three digits (Qwen2: one) and no space before them, anything
// but a line's end may stand before letters, and a word may end in line ends.
void SplitAsLlama3(std::string_view text, std::vector<ByteRange>& words);
void SplitAsQwen2(std::string_view text, std::vector<ByteRange>& words);

// Every number character is a word, or every run of them; so is what is between.
void SplitDigits(std::string_view text, std::vector<ByteRange>& words);
void SplitNumbers(std::string_view text, std::vector<ByteRange>& words);
// Every run of punctuation and of the symbols $+<=>^~| is a word; every three digits 0 to 9.
void SplitPunctuation(std::string_view text, std::vector<ByteRange>& words);
void SplitThreeDigits(std::string_view text, std::vector<ByteRange>& words);
// A word begins at every kSpaceMark.
void SplitAtMarks(std::string_view text, std::vector<ByteRange>& words);

}  // namespace coppice
