// The default method: every width of every sub-layer with the loss it costs, one knapsack over all
// of them, and the choice between what competes by the divergence from the dense model on held-out
// samples.
//
//   1. One pass backward gives the Fisher scores and both factors of the curvature (score/).
//   2. A sweep a sub-layer gives the loss of every width and its units (score/obs_curve.h).
//   3. A few measurements a sub-layer give its curve its scale (score/replacement.h).
//   4. The knapsack over the curves, and Fisher's counts, give a plan each (search/).
//   5. Each plan is repaired, and the one that is nearer to the dense model stays. A repair makes
//      its own choices (tune/tune.h).
#pragma once

#include <vector>

#include "model/network.h"
#include "pipeline/head_levels.h"
#include "pipeline/prune.h"
#include "score/obs_curve.h"

namespace coppice {

struct ObsScores {
  std::vector<at::Tensor> fisher;     // of each sub-layer, (units) float64
  std::vector<ObsCurve> curves;       // of each sub-layer; losses scaled by what was measured
  std::vector<Curvature> curvatures;  // of each sub-layer, for rounds; empty without
  HeadLevels heads;                   // narrower ones, scaled as the curves are
  double floor = 0;                   // nats measured where nothing was changed
};

ObsScores MakeObsScores(const Model& model, const Network& dense, const FitSamples& samples,
                        const PruneOptions& options, const Console& console, PruneReport* report);

// The bases of all heads: what a plan that narrows them needs to be applied. Gradients are taken
// for it.
std::vector<HeadBasis> BasesOfPlan(const Model& model, const Network& dense,
                                   const FitSamples& samples, const PruneOptions& options,
                                   const Console& console);

}  // namespace coppice
