// Sums of rows of activations.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// Of x (M, I), float32 or bfloat16: (I) float64, summed in it. LibTorch's turns all of x into
// float64 first, on fresh pages where it is large; a loop on the CPU and a kernel on a GPU
// (model/cuda/row_sums.cu) read it once. energy: where not null, () float64, the sum of squares.
at::Tensor SumOfRows(const at::Tensor& x, at::Tensor* energy = nullptr);

}  // namespace coppice
