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
};

// Gathers them batch by batch: products in float32 (inputs in bfloat16 multiply exactly), sums in
// float64.
class MomentSum {
 public:
  // inputs: (M, I) float32 or bfloat16; residual: (M, D) float32. Same device.
  void Add(const at::Tensor& inputs, const at::Tensor& residual);
  // The sums so far, at the end: what was gathered goes into them. Undefined tensors before the
  // first Add().
  Moments Take();

 private:
  int64_t tokens_ = 0;
  ProductSum gram_, cross_;
  at::Tensor input_sum_, residual_sum_, energy_;
};

// The moments of one batch.
Moments MomentsOf(const at::Tensor& inputs, const at::Tensor& residual);

}  // namespace coppice
