#include "score/obs_curve.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"

namespace coppice {
namespace {

// Orders and losses as a sweep finds them, of all sub-layers at once.
struct Steps {
  std::set<int64_t> wanted;              // the widths to refit
  std::vector<at::Tensor> costs;         // (S) float64 of every step
  std::vector<at::Tensor> failed;        // (S) int32 of every step: no number
  std::vector<at::Tensor> removed;       // (S, units that leave) int64
  std::map<int64_t, at::Tensor> refits;  // by units left: (S, k, D)

  void Add(const Removal& removal) {
    costs.push_back(removal.cost);
    failed.push_back(removal.failed);
  }

  // The curves, the widest level first.
  std::vector<Swept> Curves(int64_t sub_layers) const {
    std::vector<Swept> swept(static_cast<size_t>(sub_layers));
    const at::Tensor sums =
        Removal{at::stack(costs), at::stack(failed)}.Costs().cumsum(0).to(at::kCPU);
    const at::Tensor orders = at::cat(removed, 1).to(at::kCPU).contiguous();  // (S, units)
    for (int64_t s = 0; s < sub_layers; ++s) {
      for (const auto& [left, weights] : refits)
        swept[static_cast<size_t>(s)].refits[left] = weights[s];
      ObsCurve& curve = swept[static_cast<size_t>(s)].curve;
      const int64_t* order = orders.const_data_ptr<int64_t>() + s * orders.size(1);
      curve.order.assign(order, order + orders.size(1));
      int64_t left = orders.size(1);
      for (size_t step = 0; step < costs.size(); ++step) {
        left -= removed[step].size(1);
        curve.counts.push_back(left);
        curve.losses.push_back(sums[static_cast<int64_t>(step)][s].item<double>());
      }
    }
    return swept;
  }
};

// Single inputs in blocks: the cheapest `block` by their own scores leave together.
void SweepChannels(const ObsOptions& options, ObsState* state, Steps* steps) {
  constexpr double kGone = std::numeric_limits<double>::infinity();
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
    steps->Add(RemoveInputs(chosen, state));
    steps->removed.push_back(state->units.gather(1, chosen));
    gone.scatter_(1, chosen, true);
    left -= count;
    const bool compact = left * 6 <= gone.size(1) * 5 && left > 0;
    if (!compact && steps->wanted.count(left) == 0) continue;
    const at::Tensor stay =
        gone.logical_not().nonzero().select(1, 1).view({sub_layers, left});  // of each as many
    if (steps->wanted.count(left) > 0) steps->refits[left] = RefittedWeights(*state, stay);
    if (!compact) continue;
    KeepInputs(stay, state);
    state->units = state->units.gather(1, stay);
    gone = at::zeros({sub_layers, left}, gone.options());
  }
}

// Units of several inputs, one after the other: the cheapest by its exact block cost.
void SweepBlocks(int64_t width, ObsState* state, Steps* steps) {
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
    steps->Add(RemoveInputs(inputs_of(unit), state));
    steps->removed.push_back(state->units.gather(1, unit));
    const at::Tensor others = at::arange(left, state->units.options());
    const at::Tensor stay = others.ne(unit).nonzero().select(1, 1).view({sub_layers, left - 1});
    KeepInputs(inputs_of(stay), state);
    state->units = state->units.gather(1, stay);
    if (steps->wanted.count(left - 1) == 0) continue;
    const at::Tensor all = at::arange(state->weight.size(1), state->units.options());
    steps->refits[left - 1] = RefittedWeights(*state, all.expand({sub_layers, -1}));
  }
}

// What is left of a sweep's start when units are removed at once, and what that costs.
std::pair<ObsState, double> Without(const std::vector<int64_t>& units, int64_t width,
                                    const ObsState& start) {
  ObsState state = start;
  if (units.empty()) return {state, 0};
  state.inverse = start.inverse.clone();
  state.weight = start.weight.clone();
  const at::Tensor inputs = InputsOf(units, width, start.weight.device());
  const double cost = RemoveInputs(inputs.unsqueeze(0), &state).Costs().item<double>();
  return {state, cost};
}

// All sets of few units: the cheapest of every size. Of one sub-layer.
Swept TryAllSets(const ObsState& state, int64_t width, const std::set<int64_t>& wanted) {
  Swept swept;
  ObsCurve& curve = swept.curve;
  const auto units = static_cast<size_t>(state.units.size(1));
  std::vector<double> best(units + 1, std::numeric_limits<double>::infinity());
  std::vector<std::vector<int64_t>> best_gone(units + 1);
  curve.sets.assign(units + 1, {});
  for (uint64_t set = 0; set < uint64_t{1} << units; ++set) {
    std::vector<int64_t> kept, gone;
    for (size_t unit = 0; unit < units; ++unit)
      (set >> unit & 1 ? kept : gone).push_back(static_cast<int64_t>(unit));
    const double cost = Without(gone, width, state).second;
    const double least = best[kept.size()];
    if (!(cost < least) && !std::isnan(cost)) continue;
    if (std::isnan(least)) continue;  // of one that is no number, the sweep is done again
    best[kept.size()] = cost;
    best_gone[kept.size()] = std::move(gone);
    curve.sets[kept.size()] = std::move(kept);
  }
  for (size_t count = units; count-- > 0;) {
    curve.counts.push_back(static_cast<int64_t>(count));
    curve.losses.push_back(best[count]);
    if (wanted.count(static_cast<int64_t>(count)) == 0 || !std::isfinite(best[count])) continue;
    const at::Tensor inputs = InputsOf(curve.sets[count], width, state.weight.device());
    swept.refits[static_cast<int64_t>(count)] =
        RefittedWeights(Without(best_gone[count], width, state).first, inputs.unsqueeze(0))[0];
  }
  return swept;
}

// What is asked of a sweep.
struct Asked {
  int64_t width;             // inputs a unit owns
  std::set<int64_t> wanted;  // the widths to refit
};

// All levels but the last, the widest first; losses are not finite where rounding got the better of
// the sweep.
std::vector<Swept> Sweep(const std::vector<SweepOf>& of, const Asked& asked,
                         const ObsOptions& options) {
  const int64_t units = of[0].weight.size(0) / asked.width;
  if (units == 0) return std::vector<Swept>(of.size());
  const auto start = [&](const SweepOf& one) {
    ObsState state = StartSweep(SweepMomentsOf(*one.curvature, options), one.weight, options);
    state.units =
        at::arange(units, at::TensorOptions(at::kLong).device(state.weight.device())).unsqueeze(0);
    return state;
  };
  if (asked.width > 1 && units <= options.enumerate) {
    std::vector<Swept> swept;
    swept.reserve(of.size());
    for (const SweepOf& one : of)
      swept.push_back(TryAllSets(start(one), asked.width, asked.wanted));
    return swept;
  }
  std::vector<ObsState> states;
  states.reserve(of.size());
  for (const SweepOf& one : of) states.push_back(start(one));
  ObsState all = Together(states);
  states.clear();
  Steps steps;
  steps.wanted = asked.wanted;
  if (asked.width == 1) {
    SweepChannels(options, &all, &steps);
  } else {
    SweepBlocks(asked.width, &all, &steps);
  }
  return steps.Curves(static_cast<int64_t>(of.size()));
}

bool IsFinite(const ObsCurve& curve) {
  return std::all_of(curve.losses.begin(), curve.losses.end(),
                     [](double loss) { return std::isfinite(loss); });
}

// Once more, damped more and more, where the curve is not finite; then as callers read it.
void Finish(const SweepOf& of, const Asked& asked, ObsOptions damped, Swept* swept) {
  while (!IsFinite(swept->curve) && damped.own_damping < 1) {
    damped.own_damping *= 10;
    *swept = Sweep({of}, asked, damped)[0];
  }
  ObsCurve& curve = swept->curve;
  Check(IsFinite(curve), "a loss of the sweep is not finite");
  std::reverse(curve.counts.begin(), curve.counts.end());
  std::reverse(curve.losses.begin(), curve.losses.end());
  curve.counts.push_back(of.weight.size(0) / asked.width);
  curve.losses.push_back(0);
  const auto positions = static_cast<double>(of.curvature->positions);
  for (double& loss : curve.losses) loss /= positions;
  NeverRise(&curve.losses);
}

}  // namespace

std::vector<Swept> MakeObsCurves(const std::vector<SweepOf>& of, int64_t width,
                                 const ObsOptions& options, const std::vector<int64_t>& refitted) {
  if (of.empty()) return {};
  const Asked asked = {width, {refitted.begin(), refitted.end()}};
  std::vector<Swept> swept = Sweep(of, asked, options);
  for (size_t s = 0; s < of.size(); ++s) Finish(of[s], asked, options, &swept[s]);
  return swept;
}

ObsCurve MakeObsCurve(const Curvature& curvature, const at::Tensor& weight, int64_t width,
                      const ObsOptions& options) {
  return MakeObsCurves({{&curvature, weight}}, width, options)[0].curve;
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
