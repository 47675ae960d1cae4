// Where plans and ways to repair them compete: each is tried on a part of the samples and judged by
// how far its outputs are from the dense model's on held-out samples; the nearest is repaired on
// all of them.
#pragma once

#include <string>
#include <vector>

#include "model/network.h"
#include "pipeline/obs_plans.h"
#include "tune/tune.h"

namespace coppice {

struct Repaired {
  Model shrunk;
  TuneResult result;
};

// align: "yes", "no", or "best", which tries both with the best plan. Writes the plan, the trials
// and the divergence into the report. Without held-out samples the first plan is taken.
Repaired RunContest(const Model& model, const Network& dense, const FitSamples& samples,
                    const ObsPlans& all, TuneOptions tune, const std::string& align,
                    const Console& console, PruneReport* report);

}  // namespace coppice
