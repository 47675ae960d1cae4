// Sums of rows of activations.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// Of x (M, I), float32 or bfloat16: (I) float64, summed in it. LibTorch's on the CPU turns all of x
// into float64 first, on fresh pages where it is large.
at::Tensor SumOfRows(const at::Tensor& x);

}  // namespace coppice
