// The plans of the default method that compete for one budget: the knapsack over the widths'
// losses, and Fisher's counts with the units of the curves.
#pragma once

#include <string>
#include <vector>

#include "core/plan.h"
#include "model/cost.h"
#include "pipeline/obs_scores.h"
#include "pipeline/prune.h"
#include "search/unit_blocks.h"

namespace coppice {

// A plan that competes.
struct ObsPlan {
  std::string name;  // "levels", "whole heads" or "fisher"
  Plan plan;
  double loss = 0;  // predicted, nats
};

// What competes.
struct ObsPlans {
  std::vector<ObsPlan> plans;
  std::vector<HeadBasis> bases;  // that plans with narrower heads are in
};

// The knapsack over the curves and, where there are any, narrower heads. Throws Error (kBudget)
// when nothing fits.
ObsPlan PlanByLevels(const ModelSpec& spec, const ObsScores& scores, const CostTable& costs,
                     int64_t limit, const SearchLimits& limits);

// Throws Error (kBudget) when nothing fits.
std::vector<ObsPlan> MakeObsPlans(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                  const PruneOptions& options);

}  // namespace coppice
