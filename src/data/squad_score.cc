// NormalizeAnswer and ScoreSquad: the official metrics of SQuAD 1.1 and 2.0.
//
// The two agree but for two rules. 2.0 gives F1 = 1 where answer and prediction are both empty (1.1
// gives 0), and leaves out gold answers of which nothing remains after normalisation.
#include <algorithm>
#include <iterator>
#include <string>

#include "core/error.h"
#include "data/python_text.h"
#include "data/squad.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

enum class Rules { kVersion1, kVersion2 };

// Normalised words of an answer.
using Words = std::vector<std::string>;

bool IsAsciiPunctuation(char32_t c) {
  return (c >= U'!' && c <= U'/') || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') ||
         (c >= U'{' && c <= U'~');
}

// Runs of word characters that are an article become a space. A run ends at any other character,
// combining marks among them: of "a" with a separate accent only the accent stays, as in the
// official script.
std::u32string WithoutArticles(const std::u32string& text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsPythonWord(text[end])) ++end;
    if (end == i) {
      out += text[i++];
      continue;
    }
    const std::u32string word = text.substr(i, end - i);
    out += word == U"a" || word == U"an" || word == U"the" ? U" " : word;
    i = end;
  }
  return out;
}

Words NormalizedWords(std::string_view answer) {
  std::u32string text = PythonLower(answer);
  std::erase_if(text, IsAsciiPunctuation);
  Words words;
  bool in_word = false;
  for (const char32_t c : WithoutArticles(text)) {
    if (IsPythonSpace(c)) {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    AppendUtf8(c, words.back());
  }
  return words;
}

// Words in common, counted with repeats.
size_t CountCommon(Words a, Words b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  Words common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return common.size();
}

double F1(const Words& prediction, const Words& gold, Rules rules) {
  if (rules == Rules::kVersion2 && (prediction.empty() || gold.empty())) {
    return prediction.empty() && gold.empty() ? 1 : 0;
  }
  const auto common = static_cast<double>(CountCommon(prediction, gold));
  if (common == 0) return 0;
  const double precision = common / static_cast<double>(prediction.size());
  const double recall = common / static_cast<double>(gold.size());
  return 2 * precision * recall / (precision + recall);
}

std::vector<Words> GoldAnswers(const Example& example, Rules rules) {
  std::vector<Words> golds;
  for (const std::string& answer : example.answers) {
    golds.push_back(NormalizedWords(answer));
    if (rules == Rules::kVersion2 && golds.back().empty()) golds.pop_back();
  }
  if (golds.empty()) golds.emplace_back();
  return golds;
}

}  // namespace

std::string NormalizeAnswer(std::string_view text) {
  std::string line;
  for (const std::string& word : NormalizedWords(text)) {
    if (!line.empty()) line += ' ';
    line += word;
  }
  return line;
}

bool HasUnanswerable(const Dataset& dataset) {
  return std::any_of(dataset.examples.begin(), dataset.examples.end(),
                     [](const Example& example) { return example.answers.empty(); });
}

SquadScore ScoreSquad(const Dataset& dataset, std::span<const std::string> predictions) {
  Check(!predictions.empty() && predictions.size() == dataset.examples.size(),
        "one prediction a question");
  const Rules rules = HasUnanswerable(dataset) ? Rules::kVersion2 : Rules::kVersion1;
  SquadScore sum;
  for (size_t i = 0; i < predictions.size(); ++i) {
    const Words prediction = NormalizedWords(predictions[i]);
    SquadScore best;
    for (const Words& gold : GoldAnswers(dataset.examples[i], rules)) {
      best.exact_match = std::max(best.exact_match, prediction == gold ? 1.0 : 0.0);
      best.f1 = std::max(best.f1, F1(prediction, gold, rules));
    }
    sum.exact_match += best.exact_match;
    sum.f1 += best.f1;
  }
  const auto count = static_cast<double>(predictions.size());
  return {.exact_match = sum.exact_match / count, .f1 = sum.f1 / count};
}

}  // namespace coppice
