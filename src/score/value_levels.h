// What the heads of a sub-layer cost in loss at every number of them and every width of their
// values: obs_curve.h's objective with two kinds of inputs removed, those of the heads that leave
// and the last directions (value_basis.h) of the heads that stay.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "score/obs_curve.h"

namespace coppice {

struct ValueLevel {
  int64_t count = 0;   // units that stay
  int64_t values = 0;  // numbers of their values, fewer than there are
  double loss = 0;     // nats
};

// For each count above 0 of `curve`, whose sets of units these are, every multiple of a step (an
// eighth of the width) below the whole width. weight: (I, D) the output projection. basis: (units,
// F, F). A level whose loss is not finite is left out.
std::vector<ValueLevel> MakeValueLevels(const Curvature& curvature, const at::Tensor& weight,
                                        const ObsCurve& curve, const at::Tensor& basis,
                                        const ObsOptions& options);

}  // namespace coppice
