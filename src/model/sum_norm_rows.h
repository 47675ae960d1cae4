// Sums of an encoder's residual stream with a branch, and their norm, on the CPU: LibTorch makes
// them of four operations forward and as many backward, each of which reads and writes all rows.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// Norm(hidden + branch): LayerNorm of each row.
struct SumNorm {
  at::Tensor hidden;        // (..., D) float32, contiguous
  at::Tensor branch;        // (..., D) bfloat16 or float32, contiguous
  at::Tensor weight, bias;  // (D) float32
  double epsilon = 0;
};

// Into exact, (..., D) float32, and the same rounded, (..., D) bfloat16 or undefined.
void NormSums(const SumNorm& norm, const at::Tensor& exact, const at::Tensor& rounded);

// The gradient by the sum, into by_sum, (..., D) float32, and the same rounded, (..., D) bfloat16.
// by_exact, by_rounded: by what NormSums() gives, contiguous; one of them may be undefined.
void NormSumsGradient(const SumNorm& norm, const at::Tensor& by_exact, const at::Tensor& by_rounded,
                      const at::Tensor& by_sum, const at::Tensor& rounded);

}  // namespace coppice
