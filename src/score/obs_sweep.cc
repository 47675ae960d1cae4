#include "score/obs_sweep.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

// A Cholesky factor of a symmetric matrix, (n, n) or a batch; a ridge is raised until there is one.
at::Tensor FactorOf(const at::Tensor& matrix, double ridge) {
  const double scale = std::max(matrix.diagonal(0, -2, -1).mean().item<double>(),
                                std::numeric_limits<double>::min());
  for (; ridge < 1e6; ridge = std::max(10 * ridge, 1e-12)) {
    at::Tensor damped = matrix.clone();
    damped.diagonal(0, -2, -1).add_(ridge * scale);
    const auto [factor, failed] = at::linalg_cholesky_ex(damped);
    if (failed.count_nonzero().item<int64_t>() == 0) return factor;
  }
  Check(false, "a matrix of moments is not finite");
  return {};
}

}  // namespace

SweepMoments SweepMomentsOf(const Curvature& curvature, const ObsOptions& options) {
  at::Tensor gram = curvature.gram.Total();
  if (options.fit_bias) {
    const at::Tensor mean = curvature.input_sum / static_cast<double>(curvature.tokens);
    gram.addr_(curvature.input_sum, mean, /*beta=*/1, /*alpha=*/-1);
  }
  return {gram,
          FactorOf(curvature.gradient.Total() / static_cast<double>(curvature.tokens), 1e-10)};
}

ObsState StartSweep(const SweepMoments& moments, const at::Tensor& weight,
                    const ObsOptions& options) {
  at::Tensor gram = moments.gram;
  // Inputs are scaled to unit energy, which no score notices: a channel of a million times the
  // energy of others would drown in the rounding of the updates of A^-1.
  gram.diagonal().add_(options.damping * gram.diagonal().mean());
  const at::Tensor energy =
      gram.diagonal().clamp_min(std::numeric_limits<double>::min()).sqrt().unsqueeze(1);  // (I, 1)
  ObsState state;
  gram.div_(energy).div_(energy.t());  // in place: it may be a gigabyte
  state.inverse = at::cholesky_inverse(FactorOf(gram, options.own_damping));
  state.weight = at::mm(weight.to(gram.device()).to(at::kDouble) * energy, moments.metric);
  return state;
}

// Rows of T = A^-1[:, B], S^-1 T' and S^-1 W_B for a block B of inputs, applied to the rest.
// Returns the block's cost, a scalar tensor.
at::Tensor RemoveInputs(const at::Tensor& inputs, ObsState* state) {
  // A^-1 is symmetric: rows are columns, and are read much faster.
  const at::Tensor row = state->inverse.index_select(0, inputs);  // (b, I)
  const at::Tensor block = row.t().index_select(0, inputs);       // (b, b)
  const at::Tensor factor = std::get<0>(at::linalg_cholesky_ex(block));
  const at::Tensor weight = state->weight.index_select(0, inputs);  // (b, D)
  const at::Tensor solved = at::cholesky_solve(weight, factor);     // (b, D)
  const at::Tensor cost = (weight * solved).sum() / 2;
  state->weight.addmm_(row.t(), solved, 1, -1);
  state->inverse.addmm_(row.t(), at::cholesky_solve(row, factor), 1, -1);
  return cost;
}

}  // namespace coppice
