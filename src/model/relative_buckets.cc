#include "model/relative_buckets.h"

#include <ATen/ATen.h>

#include <cmath>

namespace coppice {

at::Tensor RelativeBuckets(int64_t tokens, int64_t buckets, const at::TensorOptions& options) {
  constexpr int64_t kMaxDistance = 128;
  const at::Tensor position = at::arange(tokens, options);
  const at::Tensor behind = position.unsqueeze(1) - position.unsqueeze(0);  // (T, T) query - key
  const int64_t half = buckets / 2;
  const int64_t exact = half / 2;
  const at::Tensor distance = behind.abs();
  const at::Tensor logarithmic =
      exact +
      (at::log(distance.to(at::kFloat) / exact) /
       std::log(static_cast<double>(kMaxDistance) / static_cast<double>(exact)) * (half - exact))
          .to(at::kLong);
  const at::Tensor bucket =
      at::where(distance.lt(exact), distance, logarithmic.clamp_max(half - 1));
  return bucket + behind.lt(0).to(at::kLong) * half;
}

}  // namespace coppice
