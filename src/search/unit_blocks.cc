#include "search/unit_blocks.h"

#include <algorithm>
#include <numeric>

namespace coppice {

std::vector<UnitBlock> MakeBlocks(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                  const CostTable& costs, const SearchLimits& limits,
                                  UnitKind kind) {
  std::vector<UnitBlock> blocks;
  const int64_t size = kind == UnitKind::kChannel ? limits.multiple : 1;
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    if (spec.sub_layers[i].kind != kind) continue;
    const int64_t units = spec.sub_layers[i].units;
    const double* score = scores[i].const_data_ptr<double>();
    std::vector<int64_t> order(static_cast<size_t>(units));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return score[a] > score[b]; });
    const int64_t least = limits.least.empty() ? 0 : limits.least[i];
    for (int64_t begin = 0; begin < units; begin += size) {
      UnitBlock block;
      block.sub_layer = i;
      block.required = begin < least;
      const int64_t end = std::min(begin + size, units);
      block.cost = costs.OfSubLayer(i, end) - costs.OfSubLayer(i, begin);
      for (int64_t k = begin; k < end; ++k) {
        const int64_t unit = order[static_cast<size_t>(k)];
        block.units.push_back(unit);
        block.score += score[unit];
      }
      blocks.push_back(std::move(block));
    }
  }
  return blocks;
}

std::vector<UnitBlock> MakeAllBlocks(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                     const CostTable& costs, const SearchLimits& limits) {
  std::vector<UnitBlock> blocks = MakeBlocks(spec, scores, costs, limits, UnitKind::kHead);
  const std::vector<UnitBlock> channels =
      MakeBlocks(spec, scores, costs, limits, UnitKind::kChannel);
  blocks.insert(blocks.end(), channels.begin(), channels.end());
  return blocks;
}

Plan PlanOf(const ModelSpec& spec, const std::vector<const UnitBlock*>& blocks) {
  Plan plan;
  plan.kept.resize(spec.sub_layers.size());
  for (const UnitBlock* block : blocks) {
    std::vector<int64_t>& kept = plan.kept[block->sub_layer];
    kept.insert(kept.end(), block->units.begin(), block->units.end());
  }
  for (std::vector<int64_t>& kept : plan.kept) std::sort(kept.begin(), kept.end());
  return plan;
}

}  // namespace coppice
