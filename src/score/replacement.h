// What a model loses when one sub-layer alone is pruned and refitted: measured, where obs_curve.h
// only estimates. A few such measurements a sub-layer give the scale of its curve.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"
#include "score/curvature.h"

namespace coppice {

// A smaller output projection in place of a sub-layer's own, or another sub-layer in its place.
struct Replacement {
  at::Tensor inputs;                   // (k) int64 unit inputs that stay
  Linear out;                          // (D, k) compute dtype, with a bias where there was one
  std::optional<SubLayer> whole = {};  // then the others are not used
};

// The projection with the kept units' inputs alone. refitted: (k, D) float64 weights that fit what
// the whole one gives on dense inputs (obs_curve.h).
Replacement ReplacementBy(const at::Tensor& refitted, const std::vector<int64_t>& kept,
                          const Curvature& curvature, const SubLayer& dense);

// Of each list of kept units the projection, refitted to what the whole one gives on dense inputs.
// `dense`: the sub-layer, fetched. damping: times the mean diagonal of the Gram matrix.
std::vector<Replacement> Refit(const Curvature& curvature, const SubLayer& dense,
                               const std::vector<std::vector<int64_t>>& kept, double damping);

// The sub-layer's own projection.
Replacement Whole(const SubLayer& dense);

// The same where it takes no memory of the device, and on the CPU none at all, until it is
// measured.
Replacement PutAway(const Replacement& one);

// Mean divergence from the dense model's outputs (model/divergence.h) with each replacement in
// turn: result[i][k] of replacements[i][k] in sub-layer i. Every other sub-layer has the one in
// `others`, or its own projection where that is empty. All of them go through the network together,
// a sub-layer at a time, so that each sub-layer is fetched once.
std::vector<std::vector<double>> MeasureReplacements(
    const Network& net, const Samples& samples,
    const std::vector<std::vector<Replacement>>& replacements,
    const std::vector<Replacement>& others, const Console& console);

}  // namespace coppice
