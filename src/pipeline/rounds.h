// The losses measured again around a plan, where what one cut costs depends on all the others.
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "core/plan.h"
#include "model/network.h"
#include "pipeline/obs_scores.h"
#include "pipeline/prune.h"

namespace coppice {

// What one sub-layer's width costs while all the others are cut: the mean divergence in nats with
// it cut, whole, and cut a little more.
struct AroundCut {
  int64_t kept = 0, less = 0;  // units of the cut, and of a little more of it
  double cut = 0, whole = 0, more = 0;
  bool measured = false;  // not of sub-layers without units
};

// Scales each curve to how its own losses changed: the geometric mean of the ratios of measured to
// predicted changes, those within the floor of noise left out. The ratio that is usual among the
// sub-layers counts whole, a sub-layer's own departure from it half, on the scale of logarithms,
// since what is measured is noisy and holds near this plan alone.
void ScaleAround(const std::vector<AroundCut>& around, ObsScores* scores);

// Measures that of a plan, on the first held-out samples, and scales the curves to it.
void Remeasure(const Network& dense, const Samples& held_out, const Plan& plan,
               const PruneOptions& options, const Console& console, ObsScores* scores);

}  // namespace coppice
