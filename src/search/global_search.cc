#include "search/global_search.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

struct RankedUnit {
  double score = 0;
  size_t sub_layer = 0;
  int64_t unit = 0;
};

// All units of one kind, best first (ties: earlier layers and units first), with sums of the best
// 0, 1, ...
struct Ranking {
  std::vector<RankedUnit> units;
  std::vector<double> sums;
  int64_t cost = 1;  // of one unit
  int64_t size() const { return static_cast<int64_t>(units.size()); }
};

Ranking Rank(const ModelSpec& spec, const std::vector<at::Tensor>& scores, const CostTable& costs,
             UnitKind kind) {
  Ranking ranking;
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    if (spec.sub_layers[i].kind != kind) continue;
    const double* score = scores[i].const_data_ptr<double>();
    for (int64_t unit = 0; unit < spec.sub_layers[i].units; ++unit)
      ranking.units.push_back({score[unit], i, unit});
    Check(ranking.cost == 1 || ranking.cost == costs.unit[i], "units of one kind differ in cost");
    ranking.cost = costs.unit[i];
  }
  std::stable_sort(ranking.units.begin(), ranking.units.end(),
                   [](const RankedUnit& a, const RankedUnit& b) { return a.score > b.score; });
  ranking.sums.push_back(0);
  for (const RankedUnit& unit : ranking.units)
    ranking.sums.push_back(ranking.sums.back() + unit.score);
  return ranking;
}

void KeepBest(const Ranking& ranking, int64_t count, Plan* plan) {
  for (int64_t i = 0; i < count; ++i) {
    const RankedUnit& unit = ranking.units[static_cast<size_t>(i)];
    plan->kept[unit.sub_layer].push_back(unit.unit);
  }
}

[[noreturn]] void FailBudget(const CostTable& costs, int64_t limit, const std::string& why) {
  ThrowBudget({.what = why,
               .expected = fmt::format("a cost of at most {}", limit),
               .found = fmt::format("{} for the whole model, {} of it not prunable", costs.Dense(),
                                    costs.fixed),
               .hint = "ask to keep more"});
}

}  // namespace

GlobalSearchResult SearchGlobally(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                  const CostTable& costs, int64_t limit, SearchRules rules) {
  const Ranking heads = Rank(spec, scores, costs, UnitKind::kHead);
  const Ranking channels = Rank(spec, scores, costs, UnitKind::kChannel);
  const bool published = rules == SearchRules::kPublished;
  const int64_t budget = limit - costs.fixed;
  int64_t best_heads = -1;
  int64_t best_channels = 0;
  double best = -1;
  for (int64_t n = published ? 1 : 0; n <= heads.size(); ++n) {
    const int64_t rest = budget - n * heads.cost;
    if (rest < 0 && !published) break;
    const int64_t fitting = std::clamp<int64_t>(rest / channels.cost, 0, channels.size());
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
  result.plan.kept.resize(spec.sub_layers.size());
  KeepBest(heads, best_heads, &result.plan);
  KeepBest(channels, best_channels, &result.plan);
  for (std::vector<int64_t>& kept : result.plan.kept) std::sort(kept.begin(), kept.end());
  if (costs.Of(result.plan) > limit) {
    Check(published, "the search went over its budget");
    FailBudget(costs, limit,
               fmt::format(
                   "the published search goes over this budget (it keeps {} heads and {} channels)",
                   best_heads, best_channels));
  }
  return result;
}

GlobalSearchResult SearchUniformly(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                   const CostTable& costs, int64_t limit) {
  int64_t rest = limit - costs.fixed;
  int64_t one_channel_everywhere = 0;
  int64_t smallest = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    if (spec.sub_layers[i].kind == UnitKind::kHead) {
      rest -= costs.unit[i] * spec.sub_layers[i].units;
    } else {
      one_channel_everywhere += costs.unit[i];
      smallest = std::min(smallest, spec.sub_layers[i].units);
    }
  }
  const int64_t width = std::min(smallest, rest < 0 ? 0 : rest / one_channel_everywhere);
  if (width < 1)
    FailBudget(costs, limit, "a uniform shape keeps all heads, and they alone exceed the budget");
  GlobalSearchResult result;
  result.plan.kept.resize(spec.sub_layers.size());
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    const bool channels = spec.sub_layers[i].kind == UnitKind::kChannel;
    const int64_t count = channels ? width : spec.sub_layers[i].units;
    const at::Tensor order =
        at::argsort(scores[i], /*stable=*/true, /*dim=*/0, /*descending=*/true);
    const at::Tensor kept = std::get<0>(order.slice(0, 0, count).sort());
    const int64_t* index = kept.const_data_ptr<int64_t>();
    result.plan.kept[i].assign(index, index + count);
    result.kept_score += scores[i].index_select(0, kept).sum().item<double>();
  }
  Check(costs.Of(result.plan) <= limit, "the uniform search went over its budget");
  return result;
}

}  // namespace coppice
