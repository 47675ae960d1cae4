// A decoder's residual sum in bfloat16, hidden + X W'. On a GPU the projection's product makes it,
// which writes it once, where the product alone would be written, read again and added; on the CPU
// the product is rounded, as all are there, and one loop widens and adds it.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"

namespace coppice {

// Whether ProjectAndSum() is for this network: a decoder in bfloat16, on the CPU or on a GPU that
// the kernels are for.
bool HasOwnSum(const Network& net);

// hidden + X W' + b, (..., D) float32. hidden: (..., D) float32; inputs: (..., I) bfloat16, I > 0.
// by_branch: as of ProjectAndNorm().
at::Tensor ProjectAndSum(const SubLayer& sub, const at::Tensor& hidden, const at::Tensor& inputs,
                         const at::Tensor& by_branch);

}  // namespace coppice
