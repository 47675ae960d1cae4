// What the kernels of our own ask of those who launch them (model/cuda/kernels.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/cuda/kernels.h"
#include "model/network.h"

namespace coppice {

// Whether they compute in this dtype on this device: bfloat16, on a GPU that they are for.
inline bool HasKernels(const Compute& compute) {
  return compute.device.is_cuda() && compute.dtype == at::kBFloat16 &&
         cuda::Available(compute.device.index());
}

// x: (..., D).
inline cuda::NormShape NormShapeOf(const at::Tensor& x, double epsilon) {
  return {x.numel() / x.size(-1), x.size(-1), static_cast<float>(epsilon)};
}

// They read 16 bytes at once.
inline bool IsAligned(const at::Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

// x without gaps between its rows; what is cut out of another tensor may begin anywhere.
inline at::Tensor AlignedRows(const at::Tensor& x) {
  const at::Tensor rows = x.contiguous();
  return IsAligned(rows) ? rows : rows.clone();
}

}  // namespace coppice
