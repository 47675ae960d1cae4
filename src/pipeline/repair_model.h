// The repair of a cut model as a prune's options ask for it.
#pragma once

#include "model/network.h"
#include "pipeline/prune.h"
#include "pipeline/select.h"
#include "tune/tune.h"

namespace coppice {

// The repair that is asked for, or the method's own.
Repair RepairOf(const PruneOptions& options);

// device: where the repair is computed.
TuneOptions RepairOptions(const Model& model, at::Device device, const PruneOptions& options);

// The cut model with what was repaired of it; the records go into the report, their notes to the
// console.
Model WithRepair(const Model& shrunk, const TuneResult& result, const Console& console,
                 PruneReport* report);

// Repairs a model that was cut by one search. The published tuning has a teacher that is itself
// pruned, to the square root of the budget, for which the scores are needed.
Model RepairModel(const Model& model, const Network& dense, const Scored& scored,
                  const CostTable& costs, const FitSamples& samples, const Model& shrunk,
                  const PruneOptions& options, const Console& console, PruneReport* report);

}  // namespace coppice
