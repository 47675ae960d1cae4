#include "score/value_levels.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace coppice {
namespace {

// The rows of x (units * R * F, n), every head's by its unit's basis: new = basis' old.
at::Tensor Turned(const at::Tensor& x, const at::Tensor& basis) {
  const at::Tensor by_head = x.view({basis.size(0), -1, basis.size(1), x.size(1)});
  return at::matmul(basis.transpose(1, 2).unsqueeze(1), by_head).reshape(x.sizes());
}

// Inputs of `heads` query heads of width F at numbers [from, to) of each.
at::Tensor InputsAt(const at::Tensor& heads, int64_t width, int64_t from, int64_t to) {
  return (heads.unsqueeze(1) * width + at::arange(from, to, heads.options())).flatten();
}

// What is left of `whole` when all heads but those of the kept units have gone, and what that cost.
double LeaveUnits(const std::vector<int64_t>& kept, int64_t units, ObsState* state) {
  const int64_t each = state->weight.size(1) / units;
  const auto options = at::TensorOptions(at::kLong).device(state->weight.device());
  at::Tensor stays = at::zeros({units}, options.dtype(at::kBool));
  stays.index_fill_(0, at::tensor(kept, at::kLong).to(options.device()), true);
  const auto inputs = [&](const at::Tensor& which) {
    return InputsAt(which.nonzero().squeeze(1), each, 0, each).unsqueeze(0);
  };
  double cost = 0;
  if (static_cast<int64_t>(kept.size()) < units)
    cost = RemoveInputs(inputs(stays.logical_not()), state).Costs().item<double>();
  KeepInputs(inputs(stays), state);
  return cost;
}

}  // namespace

std::vector<ValueLevel> MakeValueLevels(const Curvature& curvature, const at::Tensor& weight,
                                        const ObsCurve& curve, const at::Tensor& basis,
                                        const ObsOptions& options) {
  std::vector<ValueLevel> levels;
  const int64_t units = basis.size(0), width = basis.size(1);
  const int64_t step = std::max<int64_t>(1, width / 8);
  SweepMoments moments = SweepMomentsOf(curvature, options);
  const at::Tensor turn = basis.to(moments.gram.device());
  moments.gram = Turned(Turned(moments.gram, turn).t().contiguous(), turn);
  const ObsState whole = StartSweep(
      moments, Turned(weight.to(turn.device(), at::kDouble).contiguous(), turn), options);
  for (const int64_t count : curve.counts) {
    if (count == 0) continue;
    ObsState state = whole;
    state.inverse = whole.inverse.clone();
    state.weight = whole.weight.clone();
    double cost = LeaveUnits(KeptUnits(curve, count), units, &state);
    const at::Tensor heads = at::arange(state.weight.size(1) / width,
                                        at::TensorOptions(at::kLong).device(turn.device()));
    for (int64_t values = (width - 1) / step * step, before = width; values > 0; values -= step) {
      cost += RemoveInputs(InputsAt(heads, width, values, before).unsqueeze(0), &state)
                  .Costs()
                  .item<double>();
      before = values;
      if (!std::isfinite(cost)) break;
      levels.push_back({count, values, cost / static_cast<double>(curvature.positions)});
    }
  }
  return levels;
}

}  // namespace coppice
