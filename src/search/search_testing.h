// What tests of searches share: a model of two layers, small enough to try every plan.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <vector>

#include "core/random.h"
#include "search/global_search.h"
#include "search/unit_blocks.h"
#include "testdata.h"

namespace coppice {

// Sub-layers of 2, 4, 1 and 4 units, heads and channels in turn; heads cost 7, channels 3.
struct SmallSearch {
  explicit SmallSearch(uint64_t seed, int64_t fixed = 0) {
    Random random(seed);
    costs.units = {2, 4, 1, 4};
    costs.fixed = fixed;
    for (size_t i = 0; i < costs.units.size(); ++i) {
      SubLayerSpec sub;
      sub.kind = i % 2 == 0 ? UnitKind::kHead : UnitKind::kChannel;
      sub.units = costs.units[i];
      spec.sub_layers.push_back(sub);
      std::vector<double> row;
      for (int64_t unit = 0; unit < sub.units; ++unit)
        row.push_back(0.01 + random.Uniform() * (i % 2 == 0 ? 2 : 1));
      scores.push_back(at::tensor(row, at::kDouble));
      costs.unit.push_back(i % 2 == 0 ? 7 : 3);
    }
  }
  double Score(size_t sub_layer, int64_t unit) const {
    return scores[sub_layer][unit].item<double>();
  }
  double ScoreOf(const Plan& plan) const {
    double sum = 0;
    for (size_t i = 0; i < plan.kept.size(); ++i) {
      for (const int64_t unit : plan.kept[i]) sum += Score(i, unit);
    }
    return sum;
  }
  // Whether it keeps enough units, and channels in multiples (or all of a sub-layer).
  bool Holds(const Plan& plan, const SearchLimits& limits) const {
    for (size_t i = 0; i < plan.kept.size(); ++i) {
      const auto kept = static_cast<int64_t>(plan.kept[i].size());
      const bool channels = spec.sub_layers[i].kind == UnitKind::kChannel;
      if (!limits.least.empty() && kept < limits.least[i]) return false;
      if (channels && kept % limits.multiple != 0 && kept != costs.units[i]) return false;
    }
    return true;
  }
  void ForEveryPlan(const std::function<void(const Plan&)>& visit) const {
    for (unsigned bits = 0; bits < 1U << 11; ++bits) {
      Plan plan;
      unsigned rest = bits;
      for (const int64_t units : costs.units) {
        plan.kept.emplace_back();
        for (int64_t unit = 0; unit < units; ++unit, rest >>= 1) {
          if (rest & 1) plan.kept.back().push_back(unit);
        }
      }
      visit(plan);
    }
  }

  ModelSpec spec;
  std::vector<at::Tensor> scores;
  CostTable costs;
};

}  // namespace coppice
