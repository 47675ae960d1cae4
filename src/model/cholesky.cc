#include "model/cholesky.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace coppice {

at::Tensor CholeskyFactor(const at::Tensor& matrix) {
  const auto [factor, failed] = at::linalg_cholesky_ex(matrix);
  const at::Tensor good = failed.eq(0).all().logical_and(factor.sum().isfinite());
  return good.item<bool>() ? factor : at::Tensor();
}

at::Tensor DampedFactor(const at::Tensor& matrix, double* ridge) {
  constexpr double kMost = 1e6, kLeast = 1e-8;
  const double scale = std::max(matrix.diagonal(0, -2, -1).mean().item<double>(),
                                std::numeric_limits<double>::min());
  for (double g = *ridge; g <= kMost; g = std::max(10 * g, kLeast)) {
    at::Tensor damped = matrix.clone();
    damped.diagonal(0, -2, -1).add_(g * scale);
    at::Tensor factor = CholeskyFactor(damped);
    if (!factor.defined()) continue;
    *ridge = g;
    return factor;
  }
  return {};
}

}  // namespace coppice
