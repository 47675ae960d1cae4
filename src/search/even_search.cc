#include "search/even_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

// Heads of every attention sub-layer, as a share of them; one at least.
int64_t HeadsOf(const SubLayerSpec& sub, double keep) {
  const auto share = static_cast<int64_t>(std::llround(keep * static_cast<double>(sub.units)));
  return std::min(sub.units, std::max<int64_t>(1, share));
}

int64_t NarrowestFeedForward(const ModelSpec& spec) {
  int64_t narrowest = std::numeric_limits<int64_t>::max();
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind == UnitKind::kChannel) narrowest = std::min(narrowest, sub.units);
  }
  return narrowest;
}

}  // namespace

GlobalSearchResult SearchByRank(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits) {
  const std::vector<UnitBlock> blocks = MakeAllBlocks(spec, scores, costs, limits);
  std::vector<const UnitBlock*> order;
  order.reserve(blocks.size());
  for (const UnitBlock& block : blocks) order.push_back(&block);
  std::stable_sort(order.begin(), order.end(), [](const UnitBlock* a, const UnitBlock* b) {
    return a->required != b->required ? a->required : a->mean() > b->mean();
  });
  GlobalSearchResult result;
  std::vector<const UnitBlock*> kept;
  std::vector<bool> closed(spec.sub_layers.size(), false);  // a better block of it did not fit
  int64_t rest = limit - costs.fixed;
  for (const UnitBlock* block : order) {
    if (block->cost > rest || closed[block->sub_layer]) {
      if (block->required) FailBudget(costs, limit, "what every plan must keep is too much");
      closed[block->sub_layer] = true;
      continue;
    }
    rest -= block->cost;
    result.kept_score += block->score;
    kept.push_back(block);
  }
  if (kept.empty()) FailBudget(costs, limit, "no unit fits the budget");
  result.plan = PlanOf(spec, kept);
  return result;
}

GlobalSearchResult SearchEvenly(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                double keep) {
  const auto count = [&](size_t i, int64_t width) {
    const SubLayerSpec& sub = spec.sub_layers[i];
    return sub.kind == UnitKind::kChannel ? width : HeadsOf(sub, keep);
  };
  const auto cost = [&](int64_t width) {
    int64_t sum = costs.fixed;
    for (size_t i = 0; i < spec.sub_layers.size(); ++i) sum += costs.OfSubLayer(i, count(i, width));
    return sum;
  };
  int64_t width = NarrowestFeedForward(spec);
  while (width > 0 && cost(width) > limit)
    width = (width - 1) / limits.multiple * limits.multiple;  // the next lower multiple
  if (width < 1)
    FailBudget(costs, limit, "a uniform shape exceeds the budget with its heads alone");
  GlobalSearchResult result;
  result.plan.kept.resize(spec.sub_layers.size());
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    const at::Tensor order =
        at::argsort(scores[i], /*stable=*/true, /*dim=*/0, /*descending=*/true);
    const int64_t units = count(i, width);
    const at::Tensor kept = std::get<0>(order.slice(0, 0, units).sort());
    const int64_t* index = kept.const_data_ptr<int64_t>();
    result.plan.kept[i].assign(index, index + units);
    result.kept_score += scores[i].index_select(0, kept).sum().item<double>();
  }
  Check(costs.Of(result.plan) <= limit, "the even search went over its budget");
  return result;
}

}  // namespace coppice
