#include "tokenize/score_merges.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "tokenize/unicode.h"

namespace coppice {
namespace {

// The place of every id's score among all scores, the best first; equal scores share one.
std::vector<int32_t> RankScores(std::span<const float> scores) {
  std::vector<float> sorted(scores.begin(), scores.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  std::vector<int32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto place = std::lower_bound(sorted.begin(), sorted.end(), score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(place - sorted.begin()));
  }
  return ranks;
}

}  // namespace

MergeTable MergesFromScores(const Vocabulary& vocabulary, std::span<const float> scores,
                            const std::function<bool(int32_t id)>& may_join) {
  const std::vector<int32_t> ranks = RankScores(scores);
  MergeTable merges;
  for (int32_t id = 0; id < vocabulary.IdLimit(); ++id) {
    const std::string* const token = vocabulary.Token(id);
    if (token == nullptr || !may_join(id)) continue;
    const std::string_view text = *token;
    const Merge merge = {.rank = ranks[static_cast<size_t>(id)], .id = id};
    size_t cut = 0;
    for (NextCodePoint(text, cut); cut < text.size(); NextCodePoint(text, cut)) {
      const std::optional<int32_t> left = vocabulary.Find(text.substr(0, cut));
      const std::optional<int32_t> right = left ? vocabulary.Find(text.substr(cut)) : left;
      if (left && right) merges.Set(*left, *right, merge);
    }
  }
  return merges;
}

}  // namespace coppice
