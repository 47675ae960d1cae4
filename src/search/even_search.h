// Searches that do not weigh layers against each other by a loss: the same share everywhere, or one
// ranking of scores that are comparable by construction.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/cost.h"
#include "search/global_search.h"
#include "search/unit_blocks.h"

namespace coppice {

// Units of all sub-layers by their score (a block's mean), the best first, each kept if it still
// fits: what the published rankings of Shen et al. 2024, section 3, and of FLAP become when a
// unit's weight is its cost. Throws Error (kBudget) when nothing fits.
GlobalSearchResult SearchByRank(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits);

// The same share of heads (or KV groups) in every layer, rounded, one at least, and the number of
// channels that fills the budget, the same in every layer; the best of each sub-layer. keep: share
// of the heads.
GlobalSearchResult SearchEvenly(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                double keep);

}  // namespace coppice
