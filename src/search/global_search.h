// Which units to keep under a budget, all sub-layers at once: Kwon et al. 2022, section 4.2.
//
// The loss of a plan is modelled as the sum of its dropped units' scores (the diagonal of the
// Fisher information). Heads all cost the same and channels all cost the same, so for each number
// of heads the best choice is the best heads and, with what is left of the budget, the best
// channels: trying every number of heads finds the exact optimum. With channels in blocks it is
// exact among the plans of whole blocks. Where the costs are curves, SearchCurves() or, with the
// published rules, SearchLatencyAsPublished() takes over.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/plan.h"
#include "model/cost.h"
#include "model/model.h"
#include "search/unit_blocks.h"

namespace coppice {

// Which form of the search runs.
enum class SearchRules {
  kExact,      // from zero heads up, never over the budget
  kPublished,  // from one head up; a negative number of channels counts as zero, so that a plan may
               // cost too much
};

struct GlobalSearchResult {
  Plan plan;
  double kept_score = 0;  // sum of the kept units' scores
};

// scores: of each sub-layer (2L), (units) float64 on the CPU, not negative. limit: what the plan
// may cost, in the table's unit. Throws Error (kBudget) when nothing fits; with kPublished also
// when the published rules choose a plan over the budget.
GlobalSearchResult SearchGlobally(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                  const CostTable& costs, int64_t limit, SearchRules rules,
                                  const SearchLimits& limits = {});

// Throws Error (kBudget): limit, what the whole model costs, why nothing fits.
[[noreturn]] void FailBudget(const CostTable& costs, int64_t limit, const std::string& why);

}  // namespace coppice
