// Second moments of a sub-layer's kept unit inputs X and of the residual R that its repair has to
// explain, summed over tokens. Every closed-form repair is solved from these alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/gram.h"

namespace coppice {

struct Moments {
  int64_t tokens = 0;          // M
  at::Tensor gram;             // (I, I) float64  X'X
  at::Tensor cross;            // (I, D) float64  X'R
  at::Tensor input_sum;        // (I) float64
  at::Tensor residual_sum;     // (D) float64
  double residual_energy = 0;  // sum of squares of R

  // Those of other rows of the same inputs and outputs, or of none.
  void Add(const Moments& more);
};

// Moments over the fitted samples, and over the held-out ones.
struct SplitMoments {
  Moments fitted, held_out;
  // Of the same inputs over the fitted samples with a rival residual; its Gram matrix is theirs. No
  // tokens where there is no rival.
  Moments rival = {};

  void Add(const SplitMoments& more);
};

// Moments about the means, so that a solve leaves the means to the bias; where that is not fitted,
// as they are, with means of 0.
struct Centred {
  at::Tensor gram;           // (I, I); undefined where the moments have none
  at::Tensor cross;          // (I, D)
  at::Tensor input_mean;     // (I)
  at::Tensor residual_mean;  // (D)
};

Centred Centre(const Moments& moments, bool fit_bias);

// The change of the bias that goes with one of the weights, (I, D): (D), 0 if it is not fitted.
at::Tensor BiasChange(const Centred& centred, const at::Tensor& weight_change);

// How much of the residual's sum of squares a change of weights (I, D) and bias (D) takes away;
// below 0 if it adds. In the moments' dtype, summed in float64.
double ExplainedEnergy(const Moments& moments, const at::Tensor& weight_change,
                       const at::Tensor& bias_change);

// Gathers them batch by batch: products in float32 (inputs in bfloat16 multiply exactly), sums in
// float64. In X'R the residual is rounded to the inputs' dtype, which is noise far below what a fit
// leaves of it; its own sums are of float32.
class MomentSum {
 public:
  // inputs: (M, I) float32 or bfloat16; residual: (M, D) float32. Same device.
  void Add(const at::Tensor& inputs, const at::Tensor& residual);
  // All but the Gram matrix, which then is another sum's.
  void AddResidual(const at::Tensor& inputs, const at::Tensor& residual);
  // The sums so far, at the end: what was gathered goes into them. Undefined tensors before the
  // first Add(), and the Gram matrix without one.
  Moments Take();

 private:
  int64_t tokens_ = 0;
  ProductSum gram_, cross_;
  at::Tensor input_sum_, residual_sum_, energy_;
};

// The moments of one batch.
Moments MomentsOf(const at::Tensor& inputs, const at::Tensor& residual);

}  // namespace coppice
