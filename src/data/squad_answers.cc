// SquadAnswers: the reference's n-best search over start and end logits, one window at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "data/squad.h"

namespace coppice {
namespace {

// Positions of the kSquadBest largest logits, largest first; of equal logits the later position
// first.
std::vector<size_t> BestPositions(std::span<const float> logits) {
  std::vector<size_t> positions(logits.size());
  std::iota(positions.begin(), positions.end(), size_t{0});
  // NaN has no place in an order; a broken model's logits go last.
  const auto key = [&](size_t i) {
    return std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
  };
  const auto count = std::min<std::ptrdiff_t>(kSquadBest, std::ssize(positions));
  std::partial_sort(positions.begin(), positions.begin() + count, positions.end(),
                    [&](size_t a, size_t b) { return key(a) != key(b) ? key(a) > key(b) : a > b; });
  positions.resize(static_cast<size_t>(count));
  return positions;
}

bool IsValidSpan(const SquadWindow& window, size_t start, size_t end) {
  return window.encoding.sequence[start] == 1 && window.encoding.sequence[end] == 1 &&
         start <= end && static_cast<int64_t>(end - start) < kSquadAnswerLength;
}

}  // namespace

SquadAnswers::SquadAnswers(const Dataset& dataset)
    : dataset_(dataset),
      has_unanswerable_(HasUnanswerable(dataset)),
      states_(dataset.examples.size()) {}

void SquadAnswers::Add(const SquadWindow& window, std::span<const float> start_logits,
                       std::span<const float> end_logits) {
  const size_t length = window.encoding.ids.size();
  Check(length > 0 && start_logits.size() == length && end_logits.size() == length,
        "one start and one end logit a token");
  State& state = states_.at(static_cast<size_t>(window.example));
  const std::string& context = *dataset_.examples[static_cast<size_t>(window.example)].text_pair;
  state.null_score = std::min(state.null_score, start_logits[0] + end_logits[0]);

  const std::vector<size_t> ends = BestPositions(end_logits);
  for (const size_t start : BestPositions(start_logits)) {
    for (const size_t end : ends) {
      if (!IsValidSpan(window, start, end)) continue;
      const float score = start_logits[start] + end_logits[end];
      // Strictly better, so that the first of equals stays.
      if (std::isnan(score) || (state.found && score <= state.best.score)) continue;
      const size_t begin = window.context_bytes[start].first;
      const size_t stop = window.context_bytes[end].second;
      // A span of empty tokens is no answer where "" already means that there is none.
      if (has_unanswerable_ && stop <= begin) continue;
      state = {.best = {.text = stop <= begin ? "" : context.substr(begin, stop - begin),
                        .score = score},
               .found = true,
               .start_logit = start_logits[start],
               .end_logit = end_logits[end],
               .null_score = state.null_score};
    }
  }
}

std::vector<std::string> SquadAnswers::Best() const {
  std::vector<std::string> answers;
  answers.reserve(states_.size());
  for (const State& state : states_) {
    const bool null_wins =
        has_unanswerable_ && state.null_score - state.start_logit - state.end_logit > 0;
    answers.push_back(state.found && !null_wins ? state.best.text : std::string());
  }
  return answers;
}

}  // namespace coppice
