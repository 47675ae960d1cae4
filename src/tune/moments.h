// Second moments of a sub-layer's kept unit inputs X and of the residual R that its repair has to
// explain, summed over tokens. Every closed-form repair is solved from these alone.
//
// Products of a batch are made in float32 (inputs in bfloat16 multiply exactly), batches are summed
// in float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

struct Moments {
  int64_t tokens = 0;          // M
  at::Tensor gram;             // (I, I) float64  X'X
  at::Tensor cross;            // (I, D) float64  X'R
  at::Tensor input_sum;        // (I) float64
  at::Tensor residual_sum;     // (D) float64
  double residual_energy = 0;  // sum of squares of R

  // inputs: (M, I) float32 or bfloat16; residual: (M, D) float32. Same device.
  void Add(const at::Tensor& inputs, const at::Tensor& residual);
};

}  // namespace coppice
