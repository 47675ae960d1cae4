// A tensor's positions along an axis that stay.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace coppice {

// x without all other positions along the axis, in the order of `positions`, each of them in range.
// LibTorch's index_select() takes a matrix' columns one at a time; this copies what stays side by
// side at once, from all threads.
at::Tensor Select(const at::Tensor& x, int64_t axis, const std::vector<int64_t>& positions);

}  // namespace coppice
