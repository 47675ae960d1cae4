// RMS norm of rows on the CPU, rounded to bfloat16 on its way: LibTorch makes it of six operations,
// each of which reads and writes all rows.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// x / sqrt(mean(x^2) + epsilon) weight. x: (..., D) float32, contiguous; weight: (D) float32; the
// result: (..., D) bfloat16.
at::Tensor NormedRows(const at::Tensor& x, const at::Tensor& weight, double epsilon);

// The gradient by x of what NormedRows() gives, and `beside`: (..., D) float32. by_y: (..., D)
// bfloat16, contiguous. beside: (..., D) float32, contiguous, the gradient by x of all else, or
// undefined.
at::Tensor NormedRowsGradient(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                              const at::Tensor& by_y, const at::Tensor& beside = {});

}  // namespace coppice
