// The global search against every plan of a small model, and against its published rules written
// out again.
#include "search/global_search.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <optional>

#include "core/random.h"
#include "search/even_search.h"
#include "testdata.h"

namespace coppice {
namespace {

constexpr int64_t kHeadCost = 7;
constexpr int64_t kChannelCost = 3;

// 8 units in two layers: 2 + 3 and 1 + 2, heads and channels; scores of one draw.
struct Small {
  explicit Small(uint64_t seed, double head_scale = 1, int64_t fixed = 0) {
    Random random(seed);
    const std::vector<int64_t> units = {2, 3, 1, 2};
    for (size_t i = 0; i < units.size(); ++i) {
      const bool head = i % 2 == 0;
      SubLayerSpec sub;
      sub.kind = head ? UnitKind::kHead : UnitKind::kChannel;
      sub.units = units[i];
      spec.sub_layers.push_back(sub);
      std::vector<double> row;
      for (int64_t unit = 0; unit < units[i]; ++unit)
        row.push_back(random.Uniform() * (head ? head_scale : 1));
      scores.push_back(at::tensor(row, at::kDouble));
      costs.unit.push_back(head ? kHeadCost : kChannelCost);
    }
    costs.units = units;
    costs.fixed = fixed;
  }

  double ScoreOf(const Plan& plan) const {
    double sum = 0;
    for (size_t i = 0; i < plan.kept.size(); ++i) {
      for (const int64_t unit : plan.kept[i]) sum += scores[i][unit].item<double>();
    }
    return sum;
  }
  // Unit k of all, counted through the sub-layers, is kept when bit k is set.
  Plan PlanOfBits(unsigned bits) const {
    Plan plan;
    for (const int64_t units : costs.units) {
      plan.kept.emplace_back();
      for (int64_t unit = 0; unit < units; ++unit, bits >>= 1) {
        if (bits & 1) plan.kept.back().push_back(unit);
      }
    }
    return plan;
  }
  // The best score within the limit, over all plans that keep something.
  std::optional<double> BestByForce(int64_t limit) const {
    std::optional<double> best;
    for (unsigned bits = 1; bits < 256; ++bits) {
      const Plan plan = PlanOfBits(bits);
      if (costs.Of(plan) <= limit) best = std::max(best.value_or(0), ScoreOf(plan));
    }
    return best;
  }

  ModelSpec spec;
  std::vector<at::Tensor> scores;
  CostTable costs;
};

TEST(GlobalSearch, IsTheOptimumForEveryBudget) {
  int without_heads = 0, with_empty_layer = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const int64_t fixed = seed % 2 == 0 ? 0 : 11;
    const Small small(seed, seed % 3 == 0 ? 0.2 : 3, fixed);
    for (int64_t limit = 0; limit <= small.costs.Dense() + 2; ++limit) {
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      const auto best = small.BestByForce(limit);
      const auto search = [&] {
        return SearchGlobally(small.spec, small.scores, small.costs, limit, SearchRules::kExact);
      };
      if (!best) {
        ExpectError(ExitCode::kBudget, {fmt::format("at most {}", limit)}, search);
        continue;
      }
      const GlobalSearchResult found = search();
      ASSERT_NO_THROW(ValidatePlan(found.plan, small.costs.units, "plan"));
      EXPECT_LE(small.costs.Of(found.plan), limit);
      EXPECT_NEAR(small.ScoreOf(found.plan), *best, 1e-12);
      EXPECT_NEAR(found.kept_score, *best, 1e-12);
      without_heads += found.plan.kept[0].empty() && found.plan.kept[2].empty();
      with_empty_layer += found.plan.kept[2].empty() && !found.plan.kept[0].empty();
      if (limit >= small.costs.Dense()) {
        EXPECT_EQ(found.plan, FullPlan(small.costs.units));
      }
    }
  }
  EXPECT_GT(without_heads, 0);
  EXPECT_GT(with_empty_layer, 0);
}

// All of them: heads and channels are two lists sorted over all layers.
std::vector<double> Sorted(const Small& small, UnitKind kind) {
  std::vector<double> all;
  for (size_t i = 0; i < small.scores.size(); ++i) {
    if (small.spec.sub_layers[i].kind != kind) continue;
    for (int64_t unit = 0; unit < small.scores[i].size(0); ++unit)
      all.push_back(small.scores[i][unit].item<double>());
  }
  std::sort(all.rbegin(), all.rend());
  return all;
}

struct Published {
  double value = -1;
  int64_t cost = 0;
};

Published PublishedByHand(const Small& small, int64_t budget) {
  const auto heads = Sorted(small, UnitKind::kHead);
  const auto channels = Sorted(small, UnitKind::kChannel);
  Published best;
  for (int64_t n = 1; n <= static_cast<int64_t>(heads.size()); ++n) {
    const double rest = static_cast<double>(budget - n * kHeadCost) / kChannelCost;
    const int64_t fitting = std::min<int64_t>(std::max<int64_t>(static_cast<int64_t>(rest), 0),
                                              static_cast<int64_t>(channels.size()));
    const double value = std::accumulate(heads.begin(), heads.begin() + n, 0.0) +
                         std::accumulate(channels.begin(), channels.begin() + fitting, 0.0);
    if (value > best.value) best = {value, n * kHeadCost + fitting * kChannelCost};
  }
  return best;
}

TEST(GlobalSearch, PublishedRulesAreFollowedAndRefusedWhereTheyOverspend) {
  int refused = 0, accepted = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Small small(seed, seed % 3 == 0 ? 0.2 : 3);
    for (int64_t limit = 0; limit <= small.costs.Dense(); ++limit) {
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      const Published expected = PublishedByHand(small, limit);
      const auto search = [&] {
        return SearchGlobally(small.spec, small.scores, small.costs, limit,
                              SearchRules::kPublished);
      };
      if (expected.cost > limit) {
        ++refused;
        ExpectError(ExitCode::kBudget, {"published search goes over"}, search);
        continue;
      }
      ++accepted;
      const GlobalSearchResult found = search();
      EXPECT_NEAR(found.kept_score, expected.value, 1e-12);
      EXPECT_EQ(small.costs.Of(found.plan), expected.cost);
      EXPECT_GE(found.plan.kept[0].size() + found.plan.kept[2].size(), 1u);
    }
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(accepted, 20);
}

TEST(UniformSearch, KeepsAllHeadsAndTheBestChannelsOfEveryLayer) {
  const Small small(3);
  const int64_t heads = 3 * kHeadCost;
  const auto search = [&](int64_t limit) {
    return SearchEvenly(small.spec, small.scores, small.costs, limit, {}, 1);
  };
  for (int64_t limit = 0; limit < heads + 2 * kChannelCost; ++limit)
    ExpectError(ExitCode::kBudget, {"uniform shape"}, [&] { search(limit); });
  for (int64_t limit = heads + 2 * kChannelCost; limit <= small.costs.Dense(); ++limit) {
    const GlobalSearchResult found = search(limit);
    // The second layer has 2 channels only.
    const size_t width = limit < heads + 4 * kChannelCost ? 1 : 2;
    EXPECT_EQ(found.plan.kept[0], (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(found.plan.kept[2], (std::vector<int64_t>{0}));
    double expected = 0;
    for (const size_t i : {0u, 2u}) expected += small.scores[i].sum().item<double>();
    for (const size_t i : {1u, 3u}) {
      EXPECT_EQ(found.plan.kept[i].size(), width);
      expected +=
          std::get<0>(small.scores[i].topk(static_cast<int64_t>(width))).sum().item<double>();
    }
    EXPECT_NEAR(small.ScoreOf(found.plan), expected, 1e-12);
    EXPECT_NEAR(found.kept_score, expected, 1e-12);
    EXPECT_LE(small.costs.Of(found.plan), limit);
  }
}

}  // namespace
}  // namespace coppice
