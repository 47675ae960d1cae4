#include "search/published_latency.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace coppice {
namespace {

// A unit beyond its layer's threshold.
struct FreeUnit {
  size_t layer = 0;  // among those of its kind
  int64_t unit = 0;
  double score = 0;
};

// All sub-layers of one kind.
struct Kind {
  PublishedLatency latency;
  std::vector<size_t> sub_layers;          // their indices
  std::vector<std::vector<int64_t>> base;  // of each, the threshold's best units
  std::vector<size_t> weakest_first;       // layers by the sum of those units' scores
  std::vector<FreeUnit> rest;              // the others, layer by layer
  int64_t units = 0;                       // of a layer
  size_t layers() const { return sub_layers.size(); }
};

Kind MakeKind(const ModelSpec& spec, const std::vector<at::Tensor>& scores, const CostTable& costs,
              UnitKind which) {
  Kind kind;
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    if (spec.sub_layers[i].kind == which) kind.sub_layers.push_back(i);
  }
  const std::vector<int64_t>& curve = costs.curves[kind.sub_layers.front()];
  kind.units = static_cast<int64_t>(curve.size()) - 1;
  kind.latency = FitPublishedLatency({curve.begin() + 1, curve.end()});
  std::vector<double> sums;
  for (size_t layer = 0; layer < kind.layers(); ++layer) {
    const at::Tensor& score = scores[kind.sub_layers[layer]];
    const at::Tensor order = at::argsort(score, /*stable=*/true, /*dim=*/0, /*descending=*/true);
    const int64_t* const unit = order.const_data_ptr<int64_t>();
    kind.base.emplace_back();
    sums.push_back(0);
    for (int64_t k = 0; k < score.size(0); ++k) {
      const double value = score[unit[k]].item<double>();
      if (k >= kind.latency.threshold) {
        kind.rest.push_back({layer, unit[k], value});
        continue;
      }
      kind.base.back().push_back(unit[k]);
      sums.back() += value;
    }
  }
  kind.weakest_first.resize(kind.layers());
  std::iota(kind.weakest_first.begin(), kind.weakest_first.end(), 0);
  std::stable_sort(kind.weakest_first.begin(), kind.weakest_first.end(),
                   [&](size_t a, size_t b) { return sums[a] < sums[b]; });
  return kind;
}

// The free units with those of dropped layers at score 0, the best first, and the sums of the best.
struct Ranked {
  std::vector<FreeUnit> units;
  std::vector<double> sums;
};

Ranked Rank(const Kind& kind, size_t drops) {
  std::vector<bool> dropped(kind.layers(), false);
  for (size_t k = 0; k < drops; ++k) dropped[kind.weakest_first[k]] = true;
  Ranked ranked{kind.rest, {0}};
  for (FreeUnit& unit : ranked.units) {
    if (dropped[unit.layer]) unit.score = 0;
  }
  std::stable_sort(ranked.units.begin(), ranked.units.end(),
                   [](const FreeUnit& a, const FreeUnit& b) { return a.score > b.score; });
  for (const FreeUnit& unit : ranked.units) ranked.sums.push_back(ranked.sums.back() + unit.score);
  return ranked;
}

// Dropped layers and free units of each kind.
struct Choice {
  size_t attention_drops = 0, ffn_drops = 0;
  size_t heads = 0, channels = 0;
  double score = 0;
};

Choice Search(const Kind& attention, const Kind& ffn, double budget) {
  std::vector<Ranked> channels_by_drops;
  for (size_t drops = 0; drops < ffn.layers(); ++drops)
    channels_by_drops.push_back(Rank(ffn, drops));
  Choice best;
  for (size_t a = 0; a < attention.layers(); ++a) {
    const Ranked heads = Rank(attention, a);
    const size_t attention_layers = attention.layers() - a;
    const size_t most_heads =
        attention_layers * static_cast<size_t>(attention.units - attention.latency.threshold);
    for (size_t f = 0; f < ffn.layers(); ++f) {
      const Ranked& channels = channels_by_drops[f];
      const auto ffn_layers = static_cast<double>(ffn.layers() - f);
      // Never set back: the published budget.
      budget -= static_cast<double>(attention_layers) * attention.latency.constant +
                ffn_layers * ffn.latency.constant;
      if (budget < 0) continue;
      for (size_t n = 1; n <= most_heads; ++n) {
        const double left = budget - attention.latency.slope * static_cast<double>(n);
        if (left <= -ffn.latency.slope) break;
        const auto fitting = static_cast<size_t>(std::max(0.0, left / ffn.latency.slope));
        const double score =
            heads.sums[n] + channels.sums[std::min(fitting, channels.units.size())];
        if (score > best.score) best = {a, f, n, std::min(fitting, channels.units.size()), score};
      }
    }
  }
  return best;
}

void Keep(const Kind& kind, size_t drops, size_t count, Plan* plan) {
  for (size_t k = drops; k < kind.layers(); ++k) {
    const size_t layer = kind.weakest_first[k];
    plan->kept[kind.sub_layers[layer]] = kind.base[layer];
  }
  const Ranked ranked = Rank(kind, drops);
  for (size_t k = 0; k < count; ++k)
    plan->kept[kind.sub_layers[ranked.units[k].layer]].push_back(ranked.units[k].unit);
}

}  // namespace

PublishedLatency FitPublishedLatency(const std::vector<double>& table) {
  PublishedLatency best;
  double least = std::numeric_limits<double>::infinity();
  double sum = 0;
  for (size_t threshold = 1; threshold <= table.size(); ++threshold) {
    sum += table[threshold - 1];
    const double c = sum / static_cast<double>(threshold);
    double xy = 0, xx = 0;
    for (size_t i = threshold; i < table.size(); ++i) {
      const auto x = static_cast<double>(i - threshold + 1);
      xy += x * (table[i] - c);
      xx += x * x;
    }
    const double slope = xx > 0 ? std::max(0.0, xy / xx) : 0;
    double error = 0;
    for (size_t i = 0; i < table.size(); ++i) {
      const double beyond = i < threshold ? 0 : static_cast<double>(i - threshold + 1);
      const double miss = table[i] - c - slope * beyond;
      error += miss * miss;
    }
    if (error >= least) continue;
    least = error;
    best = {static_cast<int64_t>(threshold), c, slope};
  }
  return best;
}

GlobalSearchResult SearchLatencyAsPublished(const ModelSpec& spec,
                                            const std::vector<at::Tensor>& scores,
                                            const CostTable& costs, int64_t limit) {
  const Kind attention = MakeKind(spec, scores, costs, UnitKind::kHead);
  const Kind ffn = MakeKind(spec, scores, costs, UnitKind::kChannel);
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    const bool heads = spec.sub_layers[i].kind == UnitKind::kHead;
    if (spec.sub_layers[i].units != (heads ? attention : ffn).units)
      FailBudget(costs, limit, "the published latency search wants layers of one shape");
  }
  if (!(ffn.latency.slope > 0))
    FailBudget(costs, limit, "the published latency search divides by channels that cost nothing");
  // Of heads and channels alone, the share that the limit is of the whole.
  double blocks = 0;
  for (size_t i = 0; i < costs.units.size(); ++i)
    blocks += static_cast<double>(costs.OfSubLayer(i, costs.units[i]));
  const double budget = blocks * static_cast<double>(limit) / static_cast<double>(costs.Dense());
  const Choice choice = Search(attention, ffn, budget);
  if (choice.heads == 0) FailBudget(costs, limit, "the published latency search finds no plan");
  GlobalSearchResult result;
  result.kept_score = choice.score;
  result.plan.kept.resize(spec.sub_layers.size());
  Keep(attention, choice.attention_drops, choice.heads, &result.plan);
  Keep(ffn, choice.ffn_drops, choice.channels, &result.plan);
  for (std::vector<int64_t>& kept : result.plan.kept) std::sort(kept.begin(), kept.end());
  return result;
}

}  // namespace coppice
