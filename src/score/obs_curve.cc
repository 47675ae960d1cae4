#include "score/obs_curve.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

// Orders and losses as a sweep finds them, of all sub-layers at once.
struct Steps {
  std::vector<at::Tensor> costs;    // (S) float64 of every step
  std::vector<at::Tensor> removed;  // (S, units that leave) int64

  // The curves, the widest level first.
  std::vector<ObsCurve> Curves(int64_t sub_layers) const {
    std::vector<ObsCurve> curves(static_cast<size_t>(sub_layers));
    const at::Tensor sums = at::stack(costs).cumsum(0).to(at::kCPU);
    const at::Tensor orders = at::cat(removed, 1).to(at::kCPU).contiguous();  // (S, units)
    for (int64_t s = 0; s < sub_layers; ++s) {
      ObsCurve& curve = curves[static_cast<size_t>(s)];
      const int64_t* order = orders.const_data_ptr<int64_t>() + s * orders.size(1);
      curve.order.assign(order, order + orders.size(1));
      int64_t left = orders.size(1);
      for (size_t step = 0; step < costs.size(); ++step) {
        left -= removed[step].size(1);
        curve.counts.push_back(left);
        curve.losses.push_back(sums[static_cast<int64_t>(step)][s].item<double>());
      }
    }
    return curves;
  }
};

// Single inputs in blocks: the cheapest `block` by their own scores leave together.
Steps SweepChannels(const ObsOptions& options, ObsState* state) {
  constexpr double kGone = std::numeric_limits<double>::infinity();
  Steps steps;
  const int64_t sub_layers = state->units.size(0);
  int64_t left = state->units.size(1);
  at::Tensor gone = at::zeros({sub_layers, left}, state->units.options().dtype(at::kBool));
  while (left > 0) {
    // An odd rest leaves first, so that all other widths are whole blocks.
    const int64_t odd = left % options.block;
    const int64_t count = odd > 0 ? odd : options.block;
    // No number where rounding got the better of the sweep: such inputs leave, once, and the curve
    // tells by its losses.
    const at::Tensor energy = at::linalg_vector_norm(state->weight, 2, {2}).square();
    const at::Tensor score =
        (energy / state->inverse.diagonal(0, 1, 2)).nan_to_num().masked_fill(gone, kGone);
    const at::Tensor chosen = std::get<1>(score.topk(count, 1, /*largest=*/false, /*sorted=*/true));
    steps.costs.push_back(RemoveInputs(chosen, state));
    steps.removed.push_back(state->units.gather(1, chosen));
    gone.scatter_(1, chosen, true);
    left -= count;
    if (left * 6 > gone.size(1) * 5 || left == 0) continue;
    const at::Tensor stay =
        gone.logical_not().nonzero().select(1, 1).view({sub_layers, left});  // of each as many
    KeepInputs(stay, state);
    state->units = state->units.gather(1, stay);
    gone = at::zeros({sub_layers, left}, gone.options());
  }
  return steps;
}

// Units of several inputs, one after the other: the cheapest by its exact block cost.
Steps SweepBlocks(int64_t width, ObsState* state) {
  Steps steps;
  const int64_t sub_layers = state->units.size(0);
  const at::Tensor within = at::arange(width, state->units.options());
  const auto inputs_of = [&](const at::Tensor& units) {  // (S, n) -> (S, n * width)
    return (units.unsqueeze(2) * width + within).flatten(1);
  };
  for (int64_t left = state->units.size(1); left > 0; --left) {
    const at::Tensor blocks = state->inverse.view({sub_layers, left, width, left, width})
                                  .diagonal(0, 1, 3)
                                  .permute({0, 3, 1, 2})
                                  .contiguous();  // (S, left, E, E)
    const at::Tensor rows = state->weight.view({sub_layers, left, width, -1});
    const at::Tensor factor = std::get<0>(at::linalg_cholesky_ex(blocks));
    const at::Tensor cost = (rows * at::cholesky_solve(rows, factor)).sum({2, 3});  // (S, left)
    const at::Tensor unit = cost.argmin(1, /*keepdim=*/true);                       // (S, 1)
    steps.costs.push_back(RemoveInputs(inputs_of(unit), state));
    steps.removed.push_back(state->units.gather(1, unit));
    const at::Tensor others = at::arange(left, state->units.options());
    const at::Tensor stay = others.ne(unit).nonzero().select(1, 1).view({sub_layers, left - 1});
    KeepInputs(inputs_of(stay), state);
    state->units = state->units.gather(1, stay);
  }
  return steps;
}

// All sets of few units: the cheapest of every size. Of one sub-layer.
ObsCurve TryAllSets(const ObsState& state, int64_t width) {
  ObsCurve curve;
  const auto units = static_cast<size_t>(state.units.size(1));
  std::vector<double> best(units + 1, std::numeric_limits<double>::infinity());
  curve.sets.assign(units + 1, {});
  for (uint64_t set = 0; set < uint64_t{1} << units; ++set) {
    std::vector<int64_t> kept, inputs;
    for (size_t unit = 0; unit < units; ++unit) {
      const auto number = static_cast<int64_t>(unit);
      if (set >> unit & 1) {
        kept.push_back(number);
      } else {
        for (int64_t k = 0; k < width; ++k) inputs.push_back(number * width + k);
      }
    }
    double cost = 0;
    if (!inputs.empty()) {
      ObsState copy = {state.inverse.clone(), state.weight.clone(), state.units};
      const at::Tensor gone = at::tensor(inputs, at::kLong).to(state.units.device());
      cost = RemoveInputs(gone.unsqueeze(0), &copy).item<double>();
    }
    if (cost >= best[kept.size()]) continue;
    best[kept.size()] = cost;
    curve.sets[kept.size()] = kept;
  }
  for (size_t count = units; count-- > 0;) {
    curve.counts.push_back(static_cast<int64_t>(count));
    curve.losses.push_back(best[count]);
  }
  return curve;
}

// All levels but the last, the widest first; losses are not finite where rounding got the better of
// the sweep.
std::vector<ObsCurve> Sweep(const std::vector<SweepOf>& of, int64_t width,
                            const ObsOptions& options) {
  const int64_t units = of[0].weight.size(0) / width;
  if (units == 0) return std::vector<ObsCurve>(of.size());
  const auto start = [&](const SweepOf& one) {
    ObsState state = StartSweep(SweepMomentsOf(*one.curvature, options), one.weight, options);
    state.units =
        at::arange(units, at::TensorOptions(at::kLong).device(state.weight.device())).unsqueeze(0);
    return state;
  };
  if (width > 1 && units <= options.enumerate) {
    std::vector<ObsCurve> curves;
    curves.reserve(of.size());
    for (const SweepOf& one : of) curves.push_back(TryAllSets(start(one), width));
    return curves;
  }
  std::vector<ObsState> states;
  states.reserve(of.size());
  for (const SweepOf& one : of) states.push_back(start(one));
  ObsState all = Together(states);
  states.clear();
  const Steps steps = width == 1 ? SweepChannels(options, &all) : SweepBlocks(width, &all);
  return steps.Curves(static_cast<int64_t>(of.size()));
}

bool IsFinite(const ObsCurve& curve) {
  return std::all_of(curve.losses.begin(), curve.losses.end(),
                     [](double loss) { return std::isfinite(loss); });
}

// Once more, damped more and more, where the curve is not finite; then as callers read it.
void Finish(const SweepOf& of, int64_t width, ObsOptions damped, ObsCurve* curve) {
  while (!IsFinite(*curve) && damped.own_damping < 1) {
    damped.own_damping *= 10;
    *curve = Sweep({of}, width, damped)[0];
  }
  Check(IsFinite(*curve), "a loss of the sweep is not finite");
  std::reverse(curve->counts.begin(), curve->counts.end());
  std::reverse(curve->losses.begin(), curve->losses.end());
  curve->counts.push_back(of.weight.size(0) / width);
  curve->losses.push_back(0);
  const auto positions = static_cast<double>(of.curvature->positions);
  for (double& loss : curve->losses) loss /= positions;
  NeverRise(&curve->losses);
}

}  // namespace

std::vector<ObsCurve> MakeObsCurves(const std::vector<SweepOf>& of, int64_t width,
                                    const ObsOptions& options) {
  if (of.empty()) return {};
  std::vector<ObsCurve> curves = Sweep(of, width, options);
  for (size_t s = 0; s < of.size(); ++s) Finish(of[s], width, options, &curves[s]);
  return curves;
}

ObsCurve MakeObsCurve(const Curvature& curvature, const at::Tensor& weight, int64_t width,
                      const ObsOptions& options) {
  return MakeObsCurves({{&curvature, weight}}, width, options)[0];
}

void NeverRise(std::vector<double>* losses) {
  for (size_t k = losses->size(); k-- > 1;)
    (*losses)[k - 1] = std::max((*losses)[k - 1], (*losses)[k]);
}

std::vector<int64_t> KeptUnits(const ObsCurve& curve, int64_t count) {
  if (!curve.sets.empty()) return curve.sets[static_cast<size_t>(count)];
  std::vector<int64_t> kept(curve.order.end() - count, curve.order.end());
  std::sort(kept.begin(), kept.end());
  return kept;
}

double LossAt(const ObsCurve& curve, int64_t count) {
  const auto after = std::lower_bound(curve.counts.begin(), curve.counts.end(), count);
  Check(after != curve.counts.end(), "more units than the sub-layer has");
  const auto k = static_cast<size_t>(after - curve.counts.begin());
  if (*after == count || k == 0) return curve.losses[k];
  const double share = static_cast<double>(count - curve.counts[k - 1]) /
                       static_cast<double>(curve.counts[k] - curve.counts[k - 1]);
  return curve.losses[k - 1] + share * (curve.losses[k] - curve.losses[k - 1]);
}

}  // namespace coppice
