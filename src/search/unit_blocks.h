// Units as a search takes them: one by one, or channels in blocks, since programs and quantised
// types want widths that are multiples of 32 or more. A sub-layer's blocks are its units in the
// order of their scores, so that the best blocks of a sub-layer hold its best units.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/plan.h"
#include "model/cost.h"
#include "model/model.h"

namespace coppice {

// What every plan must hold to, whatever the scores say.
struct SearchLimits {
  int64_t multiple = 1;        // of channels in a sub-layer
  std::vector<int64_t> least;  // units of each sub-layer that stay; empty: none must
};

struct UnitBlock {
  size_t sub_layer = 0;
  std::vector<int64_t> units;
  double score = 0;       // sum of its units'
  int64_t cost = 0;       // of its units, those of the blocks before it being there
  bool required = false;  // by SearchLimits::least
  double mean() const { return score / static_cast<double>(units.size()); }
};

// All blocks of one kind, sub-layer after sub-layer. scores: of each sub-layer, (units) float64 on
// the CPU.
std::vector<UnitBlock> MakeBlocks(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                  const CostTable& costs, const SearchLimits& limits,
                                  UnitKind kind);

// Those of heads, then those of channels.
std::vector<UnitBlock> MakeAllBlocks(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                     const CostTable& costs, const SearchLimits& limits);

// The plan that keeps these blocks.
Plan PlanOf(const ModelSpec& spec, const std::vector<const UnitBlock*>& blocks);

}  // namespace coppice
