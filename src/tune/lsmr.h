// LSMR: iterative least squares with damping, min ||A x - b||^2 + damp^2 ||x||^2 (Fong and Saunders
// 2011).
//
// Here for one purpose: the published mask tuning solves its normal equations with it, and its
// stopping rules (which end it before convergence on ill-conditioned systems) are part of that
// procedure. Our own repairs use Cholesky factorisations.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

struct LsmrOptions {
  double damp = 0;
  double atol = 1e-6;          // relative error assumed in A
  double btol = 1e-6;          // relative error assumed in b
  double conlim = 1e8;         // stop when the condition estimate exceeds this
  int64_t max_iterations = 0;  // 0: five times the smaller dimension of A
};

struct LsmrResult {
  at::Tensor x;  // (n) float64
  // 0: x = 0 is exact; 1, 2: converged (small residual; least-squares solution); 3: condition
  // limit; 4 to 6: as 1 to 3 at machine precision; 7: iteration limit.
  int stop = 0;
  int64_t iterations = 0;
};

// matrix: (m, n) float64, right: (m) float64, on the CPU.
LsmrResult SolveLsmr(const at::Tensor& matrix, const at::Tensor& right, const LsmrOptions& options);

}  // namespace coppice
