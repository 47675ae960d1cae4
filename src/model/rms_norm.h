// A decoder's RMS norm, rounded for the products that read it: one kernel each way on a GPU
// (model/cuda/rms_norm.cu), one loop on the CPU (model/rms_norm_rows.h), where LibTorch's norm is
// float32 and rounded afterwards.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"
#include "model/residual_norm.h"

namespace coppice {

// Whether RmsNormRounded() is for this network: a decoder in bfloat16 on the CPU, or on a GPU that
// the kernels are for.
bool HasOwnRmsNorm(const Network& net);

// x / sqrt(mean(x^2) + epsilon) weight in bfloat16. x: (..., D) float32; weight: (D) float32.
// Differentiable by x.
at::Tensor RmsNormRounded(const at::Tensor& x, const at::Tensor& weight, double epsilon);

// x, and that of it: what a branch's sum and its matrices read. Backward, the gradients by both are
// added up on their way.
Hidden WithRmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

}  // namespace coppice
