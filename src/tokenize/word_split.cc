#include "tokenize/word_split.h"

#include <array>

#include "tokenize/unicode.h"

namespace coppice {
namespace {

constexpr char32_t kLongS = 0x17F;  // an "s" where case does not count

void AddWord(size_t begin, size_t end, std::vector<ByteRange>& words) {
  if (begin == end) return;
  words.push_back({.begin = static_cast<uint32_t>(begin), .end = static_cast<uint32_t>(end)});
}

enum class CharacterClass { kLetter, kNumber, kSpace, kRest };

CharacterClass ClassOf(char32_t c) {
  if (c < 0x80) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return CharacterClass::kLetter;
    if (c >= '0' && c <= '9') return CharacterClass::kNumber;
    return c == ' ' || (c >= '\t' && c <= '\r') ? CharacterClass::kSpace : CharacterClass::kRest;
  }
  if (IsLetter(c)) return CharacterClass::kLetter;
  if (IsNumber(c)) return CharacterClass::kNumber;
  return IsSpace(c) ? CharacterClass::kSpace : CharacterClass::kRest;
}

// The end of the run of characters of one class that starts at `begin`.
struct Run {
  CharacterClass type;
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

// (?i:'s|'t|'re|'ve|'m|'ll|'d)
size_t AnyCaseContractionLength(std::string_view text) {
  if (text.size() < 2 || text[0] != '\'') return 0;
  const std::array<char, 3> lower = {'\'', static_cast<char>(text[1] | 0x20),
                                     text.size() > 2 ? static_cast<char>(text[2] | 0x20) : '\0'};
  const size_t length = ContractionLength({lower.data(), lower.size()});
  if (length > 0) return length;
  size_t end = 1;
  return NextCodePoint(text, end) == kLongS ? end : 0;
}

bool IsLineEnd(char c) { return c == '\n' || c == '\r'; }

// \s*[\r\n]+|\s+(?!\S)|\s+ in a run of white space: up to its last line end if it has one; else all
// of it at the end of the text, and all but the last character before something else.
size_t SpaceEnd(std::string_view text, size_t begin) {
  const Run run = RunAt(text, begin);
  for (size_t end = run.end; end > begin; --end) {
    if (IsLineEnd(text[end - 1])) return end;
  }
  return run.end == text.size() || run.last == begin ? run.end : run.last;
}

// The regular expression kLlama3Regex, read as: a contraction; else letters, with one character
// that is no line end before them; else at most `max_digits` numbers; else a run of the rest, with
// one space before and line ends behind; else white space.
size_t WordEnd(std::string_view text, size_t begin, size_t max_digits) {
  const size_t contraction = AnyCaseContractionLength(text.substr(begin));
  if (contraction > 0) return begin + contraction;
  size_t second = begin;
  const CharacterClass type = ClassOf(NextCodePoint(text, second));
  if (type == CharacterClass::kLetter) return RunAt(text, begin).end;
  if (type == CharacterClass::kNumber) {
    size_t end = second;
    for (size_t i = end, n = 1; n < max_digits && i < text.size(); ++n, end = i) {
      if (ClassOf(NextCodePoint(text, i)) != CharacterClass::kNumber) break;
    }
    return end;
  }
  const bool at_end = second == text.size();
  if (!at_end && !IsLineEnd(text[begin])) {
    const Run next = RunAt(text, second);
    if (next.type == CharacterClass::kLetter) return next.end;
    if (text[begin] == ' ' && next.type == CharacterClass::kRest) begin = second;
  }
  if (type == CharacterClass::kSpace && begin != second) return SpaceEnd(text, begin);
  size_t end = RunAt(text, begin).end;
  while (end < text.size() && IsLineEnd(text[end])) ++end;
  return end;
}

void SplitWithDigits(std::string_view text, size_t max_digits, std::vector<ByteRange>& words) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = WordEnd(text, begin, max_digits);
    AddWord(begin, end, words);
    begin = end;
  }
}

// Cuts runs of characters that are in a set and of those that are not; those in it stand alone if
// `alone`.
template <typename InSet>
void SplitRuns(std::string_view text, InSet in_set, bool alone, std::vector<ByteRange>& words) {
  size_t begin = 0;
  bool before = false;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const bool now = in_set(NextCodePoint(text, i));
    if (now != before || (now && alone)) {
      AddWord(begin, start, words);
      begin = start;
    }
    before = now;
  }
  AddWord(begin, text.size(), words);
}

bool IsAsciiDigit(char c) { return c >= '0' && c <= '9'; }

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

WordSplit FindSplit(std::string_view regex) {
  for (const WordSplit split : {SplitAsGpt2, SplitAsLlama3, SplitAsQwen2}) {
    if (regex == RegexOf(split)) return split;
  }
  return nullptr;
}

std::string_view RegexOf(WordSplit split) {
  if (split == SplitAsGpt2) return kGpt2Regex;
  if (split == SplitAsLlama3) return kLlama3Regex;
  return split == SplitAsQwen2 ? kQwen2Regex : std::string_view();
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

// kGpt2Regex, read as: a contraction; else a run of one class, with one space before it if there is
// one; of a run of white space before something else, the last character is left for what follows.
void SplitAsGpt2(std::string_view text, std::vector<ByteRange>& words) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + ContractionLength(text.substr(begin));
    if (end == begin) {
      const Run run = RunAt(text, begin);
      end = run.end;
      if (run.type == CharacterClass::kSpace && end < text.size()) {
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

void SplitAsLlama3(std::string_view text, std::vector<ByteRange>& words) {
  SplitWithDigits(text, 3, words);
}

void SplitAsQwen2(std::string_view text, std::vector<ByteRange>& words) {
  SplitWithDigits(text, 1, words);
}

void SplitDigits(std::string_view text, std::vector<ByteRange>& words) {
  SplitRuns(text, IsNumber, true, words);
}

void SplitNumbers(std::string_view text, std::vector<ByteRange>& words) {
  SplitRuns(text, IsNumber, false, words);
}

void SplitPunctuation(std::string_view text, std::vector<ByteRange>& words) {
  constexpr std::u32string_view kSymbols = U"$+<=>^~|";
  const auto in_set = [&](char32_t c) {
    return kSymbols.find(c) != std::u32string_view::npos || HasPunctuationCategory(c);
  };
  SplitRuns(text, in_set, false, words);
}

void SplitThreeDigits(std::string_view text, std::vector<ByteRange>& words) {
  size_t begin = 0;
  for (size_t i = 0; i + 3 <= text.size();) {
    if (IsAsciiDigit(text[i]) && IsAsciiDigit(text[i + 1]) && IsAsciiDigit(text[i + 2])) {
      AddWord(begin, i, words);
      AddWord(i, i + 3, words);
      i += 3;
      begin = i;
    } else {
      ++i;
    }
  }
  AddWord(begin, text.size(), words);
}

void SplitAtMarks(std::string_view text, std::vector<ByteRange>& words) {
  size_t begin = 0;
  for (size_t i = text.find(kSpaceMark, 1); i != std::string_view::npos;
       i = text.find(kSpaceMark, i + kSpaceMark.size())) {
    AddWord(begin, i, words);
    begin = i;
  }
  AddWord(begin, text.size(), words);
}

}  // namespace coppice
