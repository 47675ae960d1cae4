#include "model/cholesky.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/BatchLinearAlgebra.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/gram.h"

namespace coppice {
namespace {

// Whether LAPACK is called here, in place: LibTorch copies a matrix to columns and back, which
// takes longer than to factorise it where it is large.
bool HasOwnPath(const at::Tensor& matrix) {
#if AT_BUILD_WITH_LAPACK()
  return matrix.is_cpu() && matrix.dim() == 2 && matrix.size(0) > 0 && matrix.is_contiguous() &&
         (matrix.scalar_type() == at::kDouble || matrix.scalar_type() == at::kFloat);
#else
  (void)matrix;
  return false;
#endif
}

#if AT_BUILD_WITH_LAPACK()

// What is the upper triangle to LAPACK, which reads by columns, is the lower one to us.
template <typename Number>
bool FactorInPlace(int64_t n, Number* matrix) {
  int failed = 0;
  at::native::lapackCholesky<Number>('U', static_cast<int>(n), matrix, static_cast<int>(n),
                                     &failed);
  if (failed != 0) return false;
  constexpr int64_t kRows = 64;  // that a thread takes at least
  at::parallel_for(0, n, kRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::fill(matrix + i * n + i + 1, matrix + (i + 1) * n, Number(0));
  });
  return true;
}

// In the triangle that the factor was in.
template <typename Number>
void InvertInPlace(int64_t n, Number* factor) {
  int failed = 0;
  at::native::lapackCholeskyInverse<Number>('U', static_cast<int>(n), factor, static_cast<int>(n),
                                            &failed);
}

#endif

// The factor of a matrix that is not needed any more, in its memory where that can be.
at::Tensor FactorOf(const at::Tensor& matrix) {
#if AT_BUILD_WITH_LAPACK()
  if (HasOwnPath(matrix)) {
    const int64_t n = matrix.size(0);
    const bool good = matrix.scalar_type() == at::kDouble
                          ? FactorInPlace(n, matrix.mutable_data_ptr<double>())
                          : FactorInPlace(n, matrix.mutable_data_ptr<float>());
    return good && std::isfinite(matrix.diagonal().sum().item<double>()) ? matrix : at::Tensor();
  }
#endif
  const auto [factor, failed] = at::linalg_cholesky_ex(matrix);
  const bool good = failed.sum().item<int64_t>() == 0 && std::isfinite(factor.sum().item<double>());
  return good ? factor : at::Tensor();
}

}  // namespace

at::Tensor CholeskyFactor(const at::Tensor& matrix) {
  return FactorOf(HasOwnPath(matrix) ? matrix.clone() : matrix);
}

at::Tensor DampedFactor(const at::Tensor& matrix, double* ridge) {
  constexpr double kMost = 1e6, kLeast = 1e-8;
  const double scale = std::max(matrix.diagonal(0, -2, -1).mean().item<double>(),
                                std::numeric_limits<double>::min());
  for (double g = *ridge; g <= kMost; g = std::max(10 * g, kLeast)) {
    at::Tensor damped = matrix.clone(at::MemoryFormat::Contiguous);
    damped.diagonal(0, -2, -1).add_(g * scale);
    at::Tensor factor = FactorOf(damped);
    if (!factor.defined()) continue;
    *ridge = g;
    return factor;
  }
  return {};
}

at::Tensor SolveByFactor(const at::Tensor& factor, const at::Tensor& right) {
  if (!factor.is_cpu()) return at::cholesky_solve(right, factor);
  return at::linalg_solve_triangular(
      factor.t(), at::linalg_solve_triangular(factor, right, /*upper=*/false), /*upper=*/true);
}

at::Tensor InverseByFactor(at::Tensor factor) {
#if AT_BUILD_WITH_LAPACK()
  if (HasOwnPath(factor)) {
    const int64_t n = factor.size(0);
    if (factor.scalar_type() == at::kDouble) {
      InvertInPlace(n, factor.mutable_data_ptr<double>());
    } else {
      InvertInPlace(n, factor.mutable_data_ptr<float>());
    }
    MirrorInPlace(factor.t());
    return factor;
  }
#endif
  return at::cholesky_inverse(factor);
}

}  // namespace coppice
