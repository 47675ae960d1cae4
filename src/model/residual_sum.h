// A decoder's residual sum on a GPU, made by the projection's product: hidden + X W' is written
// once, where the product alone would be written, read again and added.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"

namespace coppice {

// Whether ProjectAndSum() is for this network: a decoder in bfloat16 on a GPU that the kernels are
// for.
bool HasOwnSum(const Network& net);

// hidden + X W' + b, (..., D) float32. hidden: (..., D) float32; inputs: (..., I) bfloat16, I > 0.
// by_branch: as of ProjectAndNorm().
at::Tensor ProjectAndSum(const SubLayer& sub, const at::Tensor& hidden, const at::Tensor& inputs,
                         const at::Tensor& by_branch);

}  // namespace coppice
