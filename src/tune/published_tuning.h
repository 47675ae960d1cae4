// The published mask tuning of one sub-layer (Kwon et al. 2022, section 4.4), from moments.
//
// One scale a kept unit: LSMR with damp = 1 on the normal equations, which squares the problem
// twice and makes the damping depend on the number of tokens. Attention has an intercept column
// whose coefficient is dropped. The caller stops for good when a solve is not accepted.
// SolveScales() in repair.h is what these would be done right.
//
// What the fit aims at is made in tune.cc: for attention the pruned teacher's output, for a
// feed-forward sub-layer the unpruned one's on the teacher's stream, since the published code reads
// the teacher's channels before its mask is applied to them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "model/model.h"
#include "tune/moments.h"

namespace coppice {

struct PublishedScales {
  bool accepted = false;
  std::string reason;  // why not, for the log
  at::Tensor scales;   // (units) float64
};

// moments: residuals against the teacher's target. weight: (I, D), the kept units' projection.
// Accepted when LSMR converged (stop code below 3) and every scale lies in [-10, 10]. A system with
// one unknown, where the published code crashes, is reported and not accepted.
PublishedScales SolvePublishedScales(const Moments& moments, const at::Tensor& weight,
                                     UnitKind kind, int64_t width);

}  // namespace coppice
