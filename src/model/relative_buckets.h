// Buckets of relative positions, by which a table of attention biases is read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

// Half of the buckets for each direction, the first half of those exact, the rest logarithmic up to
// distance 128 (Raffel et al. 2020, section 2.1, as MPNet uses them). (T, T) int64 bucket of
// (query, key), on the device of `options`.
at::Tensor RelativeBuckets(int64_t tokens, int64_t buckets, const at::TensorOptions& options);

}  // namespace coppice
