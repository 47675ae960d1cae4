// Rotary positions: pairs of a head's numbers turned by an angle a token. bfloat16 goes by one
// kernel each way on a GPU (model/cuda/rotation.cu), and where pairs are halves by a loop on the
// CPU.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// x with its pairs turned, in x's dtype; the products are float32, as the angles are. x: (..., T,
// K). cosine, sine: (T, K) float32, of a pair's two numbers alike. neighbours: whether pairs are
// columns (2j, 2j + 1); else they are (j, K / 2 + j). Differentiable by x.
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                  bool neighbours);

}  // namespace coppice
