#include "score/obs_curve.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

void Append(const at::Tensor& units, std::vector<int64_t>* order) {
  const at::Tensor on_cpu = units.to(at::kCPU).contiguous();
  const int64_t* values = on_cpu.const_data_ptr<int64_t>();
  order->insert(order->end(), values, values + on_cpu.numel());
}

// Single inputs in blocks: the cheapest `block` by their own scores leave together.
void SweepChannels(const ObsOptions& options, ObsState* state, ObsCurve* curve) {
  constexpr double kGone = std::numeric_limits<double>::infinity();
  const int64_t all = state->units.size(0);
  std::vector<at::Tensor> costs, removed;
  int64_t left = all;
  at::Tensor gone = at::zeros({all}, state->units.options().dtype(at::kBool));
  while (left > 0) {
    // An odd rest leaves first, so that all other widths are whole blocks.
    const int64_t odd = left % options.block;
    const int64_t count = odd > 0 ? odd : options.block;
    // No number where rounding got the better of the sweep: such inputs leave, once, and the curve
    // tells by its losses.
    const at::Tensor energy = at::linalg_vector_norm(state->weight, 2, {1}).square();
    const at::Tensor score =
        (energy / state->inverse.diagonal()).nan_to_num().masked_fill(gone, kGone);
    const at::Tensor chosen = std::get<1>(score.topk(count, 0, /*largest=*/false, /*sorted=*/true));
    costs.push_back(RemoveInputs(chosen, state));
    removed.push_back(state->units.index_select(0, chosen));
    gone.index_fill_(0, chosen, true);
    left -= count;
    if (left * 6 > gone.size(0) * 5 || left == 0) continue;
    const at::Tensor stay = gone.logical_not().nonzero().squeeze(1);  // (left)
    state->inverse = state->inverse.index_select(0, stay).t().contiguous().index_select(0, stay);
    state->weight = state->weight.index_select(0, stay);
    state->units = state->units.index_select(0, stay);
    gone = at::zeros({left}, gone.options());
  }
  const at::Tensor sums = at::stack(costs).cumsum(0).to(at::kCPU);
  Append(at::cat(removed), &curve->order);
  left = all;
  for (size_t step = 0; step < costs.size(); ++step) {
    left -= removed[step].size(0);
    curve->counts.push_back(left);
    curve->losses.push_back(sums[static_cast<int64_t>(step)].item<double>());
  }
}

// Units of several inputs, one after the other: the cheapest by its exact block cost.
void SweepBlocks(int64_t width, ObsState* state, ObsCurve* curve) {
  double sum = 0;
  for (int64_t left = state->units.size(0); left > 0; --left) {
    const at::Tensor blocks = state->inverse.view({left, width, left, width})
                                  .diagonal(0, 0, 2)
                                  .permute({2, 0, 1})
                                  .contiguous();  // (left, E, E)
    const at::Tensor rows = state->weight.view({left, width, -1});
    const at::Tensor factor = std::get<0>(at::linalg_cholesky_ex(blocks));
    const at::Tensor cost = (rows * at::cholesky_solve(rows, factor)).sum({1, 2});  // (left)
    const int64_t unit = cost.argmin().item<int64_t>();
    const at::Tensor inputs = at::arange(unit * width, (unit + 1) * width, state->units.options());
    sum += RemoveInputs(inputs, state).item<double>();
    curve->order.push_back(state->units[unit].item<int64_t>());
    curve->counts.push_back(left - 1);
    curve->losses.push_back(sum);
    const at::Tensor others = at::arange(left, state->units.options());
    const at::Tensor stay = others.index({others.ne(unit)});
    const at::Tensor kept = at::arange(left * width, state->units.options())
                                .view({left, width})
                                .index_select(0, stay)
                                .flatten();
    state->inverse = state->inverse.index_select(0, kept).index_select(1, kept);
    state->weight = state->weight.index_select(0, kept);
    state->units = state->units.index_select(0, stay);
  }
}

// All sets of few units: the cheapest of every size.
void TryAllSets(const ObsState& state, int64_t width, ObsCurve* curve) {
  const auto units = static_cast<size_t>(state.units.size(0));
  std::vector<double> best(units + 1, std::numeric_limits<double>::infinity());
  curve->sets.assign(units + 1, {});
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
      cost = RemoveInputs(at::tensor(inputs, at::kLong).to(state.units.device()), &copy)
                 .item<double>();
    }
    if (cost >= best[kept.size()]) continue;
    best[kept.size()] = cost;
    curve->sets[kept.size()] = kept;
  }
  curve->counts.clear();
  curve->losses.clear();
  for (size_t count = units; count-- > 0;) {
    curve->counts.push_back(static_cast<int64_t>(count));
    curve->losses.push_back(best[count]);
  }
}

// All levels but the last, the widest first; losses are not finite where rounding got the better of
// the sweep.
ObsCurve Sweep(const Curvature& curvature, const at::Tensor& weight, int64_t width,
               const ObsOptions& options) {
  ObsCurve curve;
  const int64_t units = weight.size(0) / width;
  if (units > 0) {
    ObsState state = StartSweep(SweepMomentsOf(curvature, options), weight, options);
    state.units = at::arange(units, at::TensorOptions(at::kLong).device(state.weight.device()));
    const bool few = width > 1 && units <= options.enumerate;
    if (few) TryAllSets(state, width, &curve);
    if (width == 1) {
      SweepChannels(options, &state, &curve);
    } else if (!few) {
      SweepBlocks(width, &state, &curve);
    }
  }
  return curve;
}

bool IsFinite(const ObsCurve& curve) {
  return std::all_of(curve.losses.begin(), curve.losses.end(),
                     [](double loss) { return std::isfinite(loss); });
}

}  // namespace

ObsCurve MakeObsCurve(const Curvature& curvature, const at::Tensor& weight, int64_t width,
                      const ObsOptions& options) {
  ObsOptions damped = options;
  ObsCurve curve = Sweep(curvature, weight, width, damped);
  while (!IsFinite(curve) && damped.own_damping < 1) {
    damped.own_damping *= 10;
    curve = Sweep(curvature, weight, width, damped);
  }
  Check(IsFinite(curve), "a loss of the sweep is not finite");
  std::reverse(curve.counts.begin(), curve.counts.end());
  std::reverse(curve.losses.begin(), curve.losses.end());
  curve.counts.push_back(weight.size(0) / width);
  curve.losses.push_back(0);
  const auto positions = static_cast<double>(curvature.positions);
  for (double& loss : curve.losses) loss /= positions;
  NeverRise(&curve.losses);
  return curve;
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
