#include "search/curve_search.h"

#include "search/level_search.h"

namespace coppice {
namespace {

// The first 0, 1, ... blocks of a sub-layer, from those that must stay.
Levels LevelsOf(const std::vector<const UnitBlock*>& blocks) {
  Level level;
  for (const UnitBlock* block : blocks) level.loss += block->score;
  Levels levels;
  for (size_t k = 0;; ++k) {
    if (k == blocks.size() || !blocks[k]->required) levels.push_back(level);
    if (k == blocks.size()) return levels;
    level.units += static_cast<int64_t>(blocks[k]->units.size());
    level.loss -= blocks[k]->score;
    level.cost += blocks[k]->cost;
  }
}

}  // namespace

GlobalSearchResult SearchCurves(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits) {
  const std::vector<UnitBlock> blocks = MakeAllBlocks(spec, scores, costs, limits);
  std::vector<std::vector<const UnitBlock*>> of_sub_layer(spec.sub_layers.size());
  for (const UnitBlock& block : blocks) of_sub_layer[block.sub_layer].push_back(&block);
  std::vector<Levels> table;
  table.reserve(of_sub_layer.size());
  for (const auto& list : of_sub_layer) table.push_back(LevelsOf(list));
  const LevelChoice choice = ChooseLevels(table, limit - costs.fixed);
  if (choice.level.empty()) FailBudget(costs, limit, "no widths fit the budget");
  GlobalSearchResult result;
  std::vector<const UnitBlock*> kept;
  for (size_t i = 0; i < table.size(); ++i) {
    int64_t left = table[i][choice.level[i]].units;
    for (const UnitBlock* block : of_sub_layer[i]) {
      if (left == 0) break;
      left -= static_cast<int64_t>(block->units.size());
      result.kept_score += block->score;
      kept.push_back(block);
    }
  }
  if (kept.empty()) FailBudget(costs, limit, "no unit fits the budget");
  result.plan = PlanOf(spec, kept);
  return result;
}

}  // namespace coppice
