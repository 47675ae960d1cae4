// What tests of kernels of our own share.
#pragma once

#include <ATen/ATen.h>

#include "core/error.h"
#include "model/model_testing.h"

namespace coppice {

inline const at::Device kKernelDevice(at::kCUDA, 0);

inline at::Tensor RandomBfloat16(at::IntArrayRef shape, Random* random) {
  return RandomTensor(shape, random).to(kKernelDevice, at::kBFloat16);
}

// |found - expected| / |expected|; NaN is none.
inline double ErrorOf(const at::Tensor& found, const at::Tensor& expected) {
  Check(found.sizes().equals(expected.sizes()), "tensors of different shapes");
  const at::Tensor difference = found.to(at::kDouble) - expected.to(at::kDouble);
  return (difference.norm() / expected.to(at::kDouble).norm().clamp_min(1e-30)).item<double>();
}

}  // namespace coppice
