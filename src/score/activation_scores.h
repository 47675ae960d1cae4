// Scores of a sub-layer's units from its output projection and the second moments of its inputs:
// the numerical score of Shen et al. 2024 and three baselines. All give (units) float64 on the CPU,
// higher is better.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "score/statistics.h"

namespace coppice {

// z that minimises 1/2 sum_i ||X W_i - X (z o W_i)||^2 + lambda/2 (1'z - (1 - removed) I)^2, mean
// over a unit's inputs (Shen et al. 2024, section 3). With Q = (W W') o (X'X) and q = Q^-1 1 the
// minimum is
//     z = 1 - [lambda removed I / (1 + lambda 1'q)] q,
// one Newton step from anywhere, since the objective is quadratic; without lambda the sum is a
// constraint: z = 1 - (removed I / 1'q) q. weight: (I, D). statistics needs its Gram matrix. Inputs
// without energy (rows of zeros in Q) score 0.
at::Tensor NumericalScores(const UnitStatistics& statistics, const at::Tensor& weight,
                           int64_t width, double removed, std::optional<double> lambda);

// Variance of an input times the squared norm of its weights (FLAP: An et al. 2024), squared once
// more for attention, standardised over the sub-layer, mean over a unit's inputs.
at::Tensor FlapScores(const UnitStatistics& statistics, const at::Tensor& weight, int64_t width,
                      bool attention);

// Norm of an input times the mean absolute weight, summed over a unit's inputs (the structured form
// of Wanda, Sun et al. 2024, that FLAP's authors compare with).
at::Tensor WandaScores(const UnitStatistics& statistics, const at::Tensor& weight, int64_t width);

// Norm of the unit's rows of the projection; needs no data.
at::Tensor MagnitudeScores(const at::Tensor& weight, int64_t width);

}  // namespace coppice
