#include "score/obs_sweep.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/error.h"
#include "model/cholesky.h"

namespace coppice {
namespace {

at::Tensor FactorOf(const at::Tensor& matrix, double ridge) {
  const at::Tensor factor = DampedFactor(matrix, &ridge);
  Check(factor.defined(), "a matrix of moments is not finite");
  return factor;
}

}  // namespace

SweepMoments SweepMomentsOf(const Curvature& curvature, const ObsOptions& options) {
  return {curvature.InputGram(options.fit_bias),
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
  state.inverse = InverseByFactor(FactorOf(gram, options.own_damping)).unsqueeze(0);
  state.weight =
      at::mm(weight.to(gram.device()).to(at::kDouble) * energy, moments.metric).unsqueeze(0);
  state.energy = energy.unsqueeze(0);
  state.metric = moments.metric.unsqueeze(0);
  return state;
}

ObsState Together(const std::vector<ObsState>& states) {
  if (states.size() == 1) return states[0];  // it may be a gigabyte
  const auto joined = [&](at::Tensor ObsState::*part) {
    std::vector<at::Tensor> parts;
    parts.reserve(states.size());
    for (const ObsState& one : states) parts.push_back(one.*part);
    return at::cat(parts);
  };
  return {joined(&ObsState::inverse), joined(&ObsState::weight), joined(&ObsState::units),
          joined(&ObsState::energy), joined(&ObsState::metric)};
}

at::Tensor InputsOf(const std::vector<int64_t>& units, int64_t width, at::Device device) {
  const at::Tensor first = at::tensor(units, at::kLong).unsqueeze(1) * width;
  return (first + at::arange(width, at::kLong)).flatten().to(device);
}

at::Tensor RowsOfEach(const at::Tensor& x, const at::Tensor& rows) {
  const at::Tensor first = at::arange(x.size(0), rows.options()).unsqueeze(1) * x.size(1);
  return x.reshape({x.size(0) * x.size(1), x.size(2)})
      .index_select(0, (rows + first).flatten())
      .view({rows.size(0), rows.size(1), x.size(2)});
}

void KeepInputs(const at::Tensor& inputs, ObsState* state) {
  // A^-1 is symmetric: rows are columns, and are read much faster.
  state->inverse =
      RowsOfEach(RowsOfEach(state->inverse, inputs).transpose(1, 2).contiguous(), inputs);
  state->weight = RowsOfEach(state->weight, inputs);
  state->energy = RowsOfEach(state->energy, inputs);
}

at::Tensor RefittedWeights(const ObsState& state, const at::Tensor& inputs) {
  return at::linalg_solve_triangular(state.metric, RowsOfEach(state.weight, inputs),
                                     /*upper=*/false, /*left=*/false)
      .div_(RowsOfEach(state.energy, inputs));
}

at::Tensor Removal::Costs() const {
  return cost.masked_fill(failed.ne(0), std::numeric_limits<double>::quiet_NaN());
}

// With the block's factor, [A^-1]_BB = L L', everything is a product with P = L^-1 [A^-1]_B: the
// rest's A^-1 loses P'P and its weights P'L^-1 W_B, which costs |L^-1 W_B|^2 / 2.
Removal RemoveInputs(const at::Tensor& inputs, ObsState* state) {
  const at::Tensor row = RowsOfEach(state->inverse, inputs);  // (S, b, I)
  const int64_t count = inputs.size(1);
  const at::Tensor block = row.gather(2, inputs.unsqueeze(1).expand({-1, count, -1}));
  const auto [factor, failed] = at::linalg_cholesky_ex(block);
  const at::Tensor inverse_factor = at::linalg_solve_triangular(
      factor, at::eye(count, factor.options()).expand_as(factor), /*upper=*/false);  // (S, b, b)
  const at::Tensor rows = at::matmul(inverse_factor, row);                           // P
  const at::Tensor weights =
      at::matmul(inverse_factor, RowsOfEach(state->weight, inputs));  // (S, b, D)
  state->weight.baddbmm_(rows.transpose(1, 2), weights, 1, -1);
  state->inverse.baddbmm_(rows.transpose(1, 2), rows, 1, -1);
  return {weights.square().sum({1, 2}) / 2, failed};
}

}  // namespace coppice
