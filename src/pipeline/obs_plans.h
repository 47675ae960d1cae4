// The plans of the default method that compete for one budget: the knapsack over the widths'
// losses, and Fisher's counts with the units of the curves. Of a latency both with MACs as costs
// also, at the largest share of them that is predicted to be in time: where times are nearly
// proportional to MACs, a table's errors can cost more than its knowledge gains, and held-out
// samples tell. So what a budget of MACs would choose from is there, too.
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
  // "levels", "whole heads" or "fisher"; "levels at MACs", "fisher at MACs"; "levels, round N";
  // "uniform"; "plan", a file's
  std::string name;
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

// macs: where plans by these compete for a latency, whose `costs` are times; of Fisher's counts
// those by MACs alone, so that no more plans are tried. Throws Error (kBudget) when nothing
// fits.
std::vector<ObsPlan> MakeObsPlans(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                  const PruneOptions& options, const CostTable* macs = nullptr);

// Adds "levels at MACs": the knapsack with `macs` as costs, at the largest share of them whose plan
// costs `limit` at most by `costs`. Adds nothing where no share does that keeps a unit, or where
// the plan is among `plans` already.
void AddPlanAtMacs(const ModelSpec& spec, const ObsScores& scores, const CostTable& macs,
                   const CostTable& costs, int64_t limit, const SearchLimits& limits,
                   std::vector<ObsPlan>* plans);

}  // namespace coppice
