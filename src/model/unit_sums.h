// What masks' gradients are made of: the sums of products of units' inputs and the gradients by
// them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

// Sums of x by_x over stretches of `row_tokens` tokens, the last as short as is left, and over each
// unit's columns: (B, ceil(T / row_tokens), units) float32. x, by_x: (B, T, units * width) of one
// dtype, units > 0. bfloat16 is read once and multiplied in float32, by a loop on the CPU, in the
// same order on any number of threads, by a kernel on a GPU (model/cuda/unit_sums.cu); elsewhere
// products are rounded to the dtype, as their factors are.
at::Tensor SumsOfProducts(const at::Tensor& x, const at::Tensor& by_x, int64_t units,
                          int64_t row_tokens);

}  // namespace coppice
