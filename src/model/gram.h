// Gram matrices of activations at the full rate of the compute dtype.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// X'X in float32 of X (M, I). X in bfloat16 is multiplied by the CPU's bfloat16 units with float32
// sums and result: no product is rounded.
at::Tensor GramMatrix(const at::Tensor& inputs);

// The same of float32 values that came from `origin`, so are exact in it.
at::Tensor GramMatrixOf(const at::Tensor& values, at::ScalarType origin);

}  // namespace coppice
