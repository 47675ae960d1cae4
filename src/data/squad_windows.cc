// MakeSquadWindows: questions and parts of their contexts, cut to the model's length.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "data/python_text.h"
#include "data/squad.h"

namespace coppice {
namespace {

// How the tokens of one example are shared out over windows.
struct Cut {
  size_t question = 0;  // tokens of the question in every window
  size_t room = 0;      // tokens of the context in a window at most
  size_t overlap =
      0;  // tokens that a part shares with the next; less than room unless one part is all
};

Cut MakeCut(size_t question, size_t context, size_t special, size_t max_length) {
  if (max_length < special + 2) {
    ThrowUsage({.what = "the length has no room for a question and its context",
                .expected = fmt::format("at least {} tokens", special + 2),
                .found = fmt::format("{}", max_length)});
  }
  const size_t free = max_length - special;
  if (question + context <= free) return {.question = question, .room = free - question};
  if (question + kSquadStride < free) {
    return {.question = question, .room = free - question, .overlap = kSquadStride};
  }
  const size_t cut = std::min({question, kSquadQuestionLength, free / 2});
  return {.question = cut, .room = free - cut, .overlap = std::min(kSquadStride, (free - cut) / 2)};
}

struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

// The first gold answer, as the reference trains on it; nullopt for a question without answer.
std::optional<ByteRange> GoldAnswer(const Example& example) {
  if (example.answers.empty() || example.answers.front().empty()) return std::nullopt;
  const std::string& context = *example.text_pair;
  const auto begin = ByteOfCodePoint(context, static_cast<size_t>(example.answer_starts.front()));
  if (!begin) return std::nullopt;
  const auto length = ByteOfCodePoint(std::string_view(context).substr(*begin),
                                      CountCodePoints(example.answers.front()));
  if (!length) return std::nullopt;
  return ByteRange{.begin = *begin, .end = *begin + *length};
}

// Sets the answer's tokens if all of it lies in the window, whose context part is [first, last].
void MarkAnswer(const ByteRange& answer, size_t first, size_t last, SquadWindow& window) {
  const auto& bytes = window.context_bytes;
  if (bytes[first].first > answer.begin || bytes[last].second < answer.end) return;
  size_t start = last;
  while (bytes[start].first > answer.begin) --start;
  size_t end = first;
  while (bytes[end].second < answer.end) ++end;
  // Byte-level tokens that share one character cover the same bytes, and the two may cross.
  window.start = static_cast<int64_t>(std::min(start, end));
  window.end = static_cast<int64_t>(end);
}

SquadWindow MakeWindow(const Tokenizer& tokenizer, std::span<const Token> question,
                       std::span<const Token> part, const std::optional<ByteRange>& answer) {
  SquadWindow window{.encoding = tokenizer.Assemble(question, part)};
  const auto& sequence = window.encoding.sequence;
  window.context_bytes.resize(sequence.size());
  size_t taken = 0;
  size_t last = 0;
  for (size_t i = 0; i < sequence.size(); ++i) {
    if (sequence[i] != 1) continue;
    Check(taken < part.size(), "more context tokens assembled than given");
    window.context_bytes[i] = {part[taken].begin, part[taken].end};
    last = i;
    ++taken;
  }
  Check(taken == part.size(), "fewer context tokens assembled than given");
  if (answer && taken > 0) MarkAnswer(*answer, last + 1 - taken, last, window);
  return window;
}

void CheckIsQuestion(const Dataset& dataset, const Example& example) {
  if (example.is_question) return;
  ThrowBadInput({.what = "not a question",
                 .where = fmt::format("{}:{}", dataset.file.string(), example.line),
                 .expected = "\"question\", \"context\" and \"answers\"",
                 .hint = "this model answers questions"});
}

}  // namespace

std::vector<SquadWindow> MakeSquadWindows(const Tokenizer& tokenizer, const Dataset& dataset,
                                          size_t max_length) {
  std::vector<SquadWindow> windows;
  // SQuAD asks several questions in a row about one context, which is tokenized once.
  const std::string* context_text = nullptr;
  std::vector<Token> context;
  for (size_t i = 0; i < dataset.examples.size(); ++i) {
    const Example& example = dataset.examples[i];
    CheckIsQuestion(dataset, example);
    if (context_text == nullptr || *context_text != *example.text_pair) {
      context_text = &*example.text_pair;
      context = tokenizer.Tokenize(*context_text);
    }
    const std::vector<Token> question = tokenizer.Tokenize(WithoutLeadingSpace(example.text));
    const Cut cut =
        MakeCut(question.size(), context.size(), tokenizer.NumSpecial(true), max_length);
    const std::span<const Token> kept_question = std::span(question).first(cut.question);
    const auto answer = GoldAnswer(example);
    size_t begin = 0;
    while (true) {
      const size_t end = std::min(begin + cut.room, context.size());
      windows.push_back(MakeWindow(tokenizer, kept_question,
                                   std::span(context).subspan(begin, end - begin), answer));
      windows.back().example = static_cast<int64_t>(i);
      if (end == context.size()) break;
      begin += cut.room - cut.overlap;
    }
  }
  return windows;
}

}  // namespace coppice
