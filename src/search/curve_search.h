// The same question as in global_search.h where units do not cost alike: a sub-layer's cost is a
// curve over its width (latency). Every sub-layer keeps its best blocks; which width each has is a
// knapsack over all of them (level_search.h), exact for the sum of the dropped scores up to the
// bins of its costs.
#pragma once

#include "search/global_search.h"

namespace coppice {

// As SearchGlobally(); needs nothing of the costs but CostTable::OfSubLayer().
GlobalSearchResult SearchCurves(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                const CostTable& costs, int64_t limit, const SearchLimits& limits);

}  // namespace coppice
