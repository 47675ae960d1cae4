#include "search/rearrange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace coppice {
namespace {

// One sub-layer's quadratic form and its current dropped set, on the CPU in float64.
struct Block {
  int64_t units = 0;
  std::vector<float> matrix;  // (units, units), row-major
  std::vector<char> dropped;  // (units)
  std::vector<double> field;  // (units) matrix * u
  const float* Row(int64_t i) const { return matrix.data() + i * units; }
  float At(int64_t i, int64_t j) const { return Row(i)[j]; }

  double Objective() const {
    double sum = 0;
    for (int64_t i = 0; i < units; ++i)
      sum += dropped[static_cast<size_t>(i)] ? field[static_cast<size_t>(i)] : 0;
    return sum;
  }
  void Flip(int64_t unit) {
    char& state = dropped[static_cast<size_t>(unit)];
    const double sign = state ? -1 : 1;
    const float* row = Row(unit);
    for (int64_t j = 0; j < units; ++j) field[static_cast<size_t>(j)] += sign * row[j];
    state = !state;
  }
};

Block MakeBlock(const at::Tensor& gradients, const std::vector<int64_t>& kept) {
  Block block;
  block.units = gradients.size(1);
  const at::Tensor matrix = at::mm(gradients.t(), gradients).to(at::kCPU).contiguous();
  const float* values = matrix.const_data_ptr<float>();
  block.matrix.assign(values, values + matrix.numel());
  block.dropped.assign(static_cast<size_t>(block.units), 0);
  block.field.assign(static_cast<size_t>(block.units), 0);
  std::vector<char> stays(static_cast<size_t>(block.units), 0);
  for (const int64_t unit : kept) stays[static_cast<size_t>(unit)] = 1;
  for (int64_t unit = 0; unit < block.units; ++unit) {
    if (!stays[static_cast<size_t>(unit)]) block.Flip(unit);
  }
  return block;
}

// For each dropped unit in turn, the best exchange with a kept one, until a whole pass finds none.
// Every exchange lowers the objective, so this ends.
int64_t SwapUntilStable(Block* block) {
  int64_t swaps = 0;
  // Relative to the units' own scores: the objective may be zero, or below it by rounding, and
  // swaps that change nothing would then go on for ever.
  double own = 0;
  for (int64_t unit = 0; unit < block->units; ++unit)
    own += block->dropped[static_cast<size_t>(unit)] ? block->At(unit, unit) : 0;
  const double tolerance = 1e-7 * own;
  for (bool changed = true; changed;) {
    changed = false;
    for (int64_t out = 0; out < block->units; ++out) {
      if (!block->dropped[static_cast<size_t>(out)]) continue;
      const float* row = block->Row(out);
      const double leaving = row[out] - 2 * block->field[static_cast<size_t>(out)];
      int64_t best = -1;
      double best_change = -tolerance;
      for (int64_t in = 0; in < block->units; ++in) {
        if (block->dropped[static_cast<size_t>(in)]) continue;
        const double change =
            leaving + block->At(in, in) + 2 * (block->field[static_cast<size_t>(in)] - row[in]);
        if (change < best_change) {
          best_change = change;
          best = in;
        }
      }
      if (best < 0) continue;
      block->Flip(out);
      block->Flip(best);
      ++swaps;
      changed = true;
    }
  }
  return swaps;
}

// The published pass: units in ascending order of their own score join the dropped set one by one,
// and each time the member leaves whose absence gives the smallest objective.
int64_t GreedyPass(Block* block) {
  std::vector<int64_t> order(static_cast<size_t>(block->units));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return block->At(a, a) < block->At(b, b); });
  const auto count =
      static_cast<size_t>(std::count(block->dropped.begin(), block->dropped.end(), 1));
  if (count == 0) return 0;
  for (int64_t unit = 0; unit < block->units; ++unit) {
    if (block->dropped[static_cast<size_t>(unit)]) block->Flip(unit);
  }
  for (size_t i = 0; i < count; ++i) block->Flip(order[i]);
  int64_t swaps = 0;
  for (size_t i = count; i < order.size(); ++i) {
    block->Flip(order[i]);
    int64_t worst = order[i];
    double best_change = std::numeric_limits<double>::infinity();
    for (int64_t unit = 0; unit < block->units; ++unit) {
      if (!block->dropped[static_cast<size_t>(unit)]) continue;
      const double change = block->At(unit, unit) - 2 * block->field[static_cast<size_t>(unit)];
      if (change < best_change) {
        best_change = change;
        worst = unit;
      }
    }
    block->Flip(worst);
    swaps += worst != order[i];
  }
  return swaps;
}

}  // namespace

RearrangeResult Rearrange(const Plan& plan, const std::vector<at::Tensor>& gradients,
                          RearrangeRules rules) {
  RearrangeResult result;
  result.plan = plan;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const auto units = gradients[i].size(1);
    const auto kept = static_cast<int64_t>(plan.kept[i].size());
    if (kept == 0 || kept == units) continue;
    Block block = MakeBlock(gradients[i], plan.kept[i]);
    result.before += block.Objective();
    result.swaps +=
        rules == RearrangeRules::kPublished ? GreedyPass(&block) : SwapUntilStable(&block);
    result.after += block.Objective();
    result.plan.kept[i].clear();
    for (int64_t unit = 0; unit < units; ++unit) {
      if (!block.dropped[static_cast<size_t>(unit)]) result.plan.kept[i].push_back(unit);
    }
  }
  return result;
}

}  // namespace coppice
