#include "search/global_search.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "search/curve_search.h"
#include "search/published_latency.h"

namespace coppice {
namespace {

// All blocks of one kind, best first (those that must stay before them; ties: earlier layers
// first), with sums and costs of the best 0, 1, ...
struct Ranking {
  std::vector<UnitBlock> blocks;
  std::vector<double> sums;
  std::vector<int64_t> costs;
  int64_t cost = 1;      // of one block, at most
  int64_t required = 0;  // blocks that must stay
  int64_t size() const { return static_cast<int64_t>(blocks.size()); }
};

Ranking Rank(const ModelSpec& spec, const std::vector<at::Tensor>& scores, const CostTable& costs,
             const SearchLimits& limits, UnitKind kind) {
  Ranking ranking;
  ranking.blocks = MakeBlocks(spec, scores, costs, limits, kind);
  // Within a sub-layer the order is that of the units' scores; the last block may be smaller.
  std::stable_sort(ranking.blocks.begin(), ranking.blocks.end(),
                   [](const UnitBlock& a, const UnitBlock& b) {
                     return a.required != b.required ? a.required : a.score > b.score;
                   });
  ranking.sums.push_back(0);
  ranking.costs.push_back(0);
  for (const UnitBlock& block : ranking.blocks) {
    ranking.sums.push_back(ranking.sums.back() + block.score);
    ranking.costs.push_back(ranking.costs.back() + block.cost);
    ranking.cost = std::max(ranking.cost, block.cost);
    ranking.required += block.required;
  }
  return ranking;
}

void KeepBest(const Ranking& ranking, int64_t count, std::vector<const UnitBlock*>* kept) {
  for (int64_t i = 0; i < count; ++i) kept->push_back(&ranking.blocks[static_cast<size_t>(i)]);
}

}  // namespace

void FailBudget(const CostTable& costs, int64_t limit, const std::string& why) {
  ThrowBudget({.what = why,
               .expected = fmt::format("a cost of at most {}", limit),
               .found = fmt::format("{} for the whole model, {} of it not prunable", costs.Dense(),
                                    costs.fixed),
               .hint = "ask to keep more"});
}

GlobalSearchResult SearchGlobally(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                  const CostTable& costs, int64_t limit, SearchRules rules,
                                  const SearchLimits& limits) {
  if (!costs.curves.empty()) {
    return rules == SearchRules::kPublished ? SearchLatencyAsPublished(spec, scores, costs, limit)
                                            : SearchCurves(spec, scores, costs, limit, limits);
  }
  const Ranking heads = Rank(spec, scores, costs, limits, UnitKind::kHead);
  const Ranking channels = Rank(spec, scores, costs, limits, UnitKind::kChannel);
  const bool published = rules == SearchRules::kPublished;
  const int64_t budget = limit - costs.fixed;
  int64_t best_heads = -1;
  int64_t best_channels = 0;
  double best = -1;
  for (int64_t n = std::max<int64_t>(heads.required, published); n <= heads.size(); ++n) {
    const int64_t rest = budget - n * heads.cost;
    if (rest < 0 && !published) break;
    const int64_t fitting =
        std::upper_bound(channels.costs.begin(), channels.costs.end(), std::max<int64_t>(0, rest)) -
        channels.costs.begin() - 1;
    if (fitting < channels.required) continue;
    const double kept =
        heads.sums[static_cast<size_t>(n)] + channels.sums[static_cast<size_t>(fitting)];
    if (kept > best) {
      best = kept;
      best_heads = n;
      best_channels = fitting;
    }
  }
  if (best_heads < 0 || best_heads + best_channels == 0)
    FailBudget(costs, limit, "no unit fits the budget");
  GlobalSearchResult result;
  result.kept_score = best;
  std::vector<const UnitBlock*> kept;
  KeepBest(heads, best_heads, &kept);
  KeepBest(channels, best_channels, &kept);
  result.plan = PlanOf(spec, kept);
  if (costs.Of(result.plan) > limit) {
    Check(published, "the search went over its budget");
    FailBudget(costs, limit,
               fmt::format(
                   "the published search goes over this budget (it keeps {} heads and {} channels)",
                   best_heads, best_channels));
  }
  return result;
}

}  // namespace coppice
