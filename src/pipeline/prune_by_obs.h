// The default method from the dense network to the repaired model (pipeline/obs_scores.h has its
// steps).
#pragma once

#include <optional>

#include "model/cost.h"
#include "model/network.h"
#include "pipeline/prune.h"

namespace coppice {

// The pruned model; none where the curve alone is wanted. Throws Error (kBudget) when nothing fits.
std::optional<Model> PruneByObs(const Model& model, const Network& dense, const FitSamples& samples,
                                const CostTable& table, const PruneOptions& options,
                                const Console& console, PruneReport* report);

}  // namespace coppice
