// Gated SiLU of a feed-forward sub-layer's channels, one kernel each way on a GPU
// (model/cuda/silu.cu), one loop on the CPU (model/gated_silu_rows.h), on gates and ups where their
// products have put them.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"

namespace coppice {

// Whether GatedSilu() is for the sub-layer of this network: bfloat16 on the CPU, or on a GPU that
// the kernels are for, channels in eights.
bool HasGatedSilu(const Network& net, const SubLayer& sub);

// gate / (1 + exp(-gate)) up: (..., C) bfloat16. gate, up: (..., C) bfloat16; or, up undefined,
// gate: (..., 2 C), both of them joined. Differentiable by both.
at::Tensor GatedSilu(const at::Tensor& gate, const at::Tensor& up = {});

}  // namespace coppice
