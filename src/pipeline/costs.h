// What units cost in the budget's own kind, and what a search takes of it.
#pragma once

#include <functional>
#include <vector>

#include "pipeline/prune.h"

namespace coppice {

// MACs and parameters are counted; latencies are measured (report->latency then holds them). Reads
// the report's options and tokens.
CostTable MakeCosts(const Model& model, const Console& console, PruneReport* report);

// The table itself, but of latencies, which plans that were run correct: see CostsThatHold().
// Published searches take the table as it is.
CostTable CostsToSearchWith(const CostTable& table,
                            const std::function<std::vector<Plan>(const CostTable&)>& search,
                            const Console& console, PruneReport* report);

}  // namespace coppice
