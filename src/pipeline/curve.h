// What several budgets would cost, and the plan of each, from one table of levels: nothing is
// measured or repaired for it, so a curve comes with any run of the default method.
#pragma once

#include <filesystem>
#include <vector>

#include "pipeline/obs_plans.h"

namespace coppice {

// One point a share, by the knapsack over the curves. Throws Error (kBudget) when nothing fits one.
std::vector<CurvePoint> MakeCurve(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, const std::vector<double>& shares,
                                  const SearchLimits& limits);

// Writes each point's plan, as --plan reads it, under its name in the folder.
void WriteCurve(const std::vector<CurvePoint>& curve, const std::filesystem::path& folder);

}  // namespace coppice
