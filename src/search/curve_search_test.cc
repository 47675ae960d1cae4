// Searches where costs are curves over a width, against every plan.
#include "search/curve_search.h"

#include <gtest/gtest.h>

#include "search/even_search.h"
#include "search/search_testing.h"

namespace coppice {
namespace {

// Curves that jump at the first unit and then rise unevenly, as latencies do.
SmallSearch WithCurves(uint64_t seed) {
  SmallSearch small(seed, /*fixed=*/static_cast<int64_t>(seed % 7));
  Random random(seed, 1);
  for (const int64_t units : small.costs.units) {
    std::vector<int64_t> curve = {0};
    int64_t cost = random.Below(20);
    for (int64_t k = 1; k <= units; ++k) curve.push_back(cost += random.Below(12));
    small.costs.curves.push_back(curve);
  }
  small.costs.unit.clear();
  return small;
}

void ExpectOptimum(const SmallSearch& small, const SearchLimits& limits, int64_t limit) {
  double best = -1;
  small.ForEveryPlan([&](const Plan& plan) {
    if (small.costs.Of(plan) <= limit && small.Holds(plan, limits))
      best = std::max(best, small.ScoreOf(plan));
  });
  const auto search = [&] {
    return SearchGlobally(small.spec, small.scores, small.costs, limit, SearchRules::kExact,
                          limits);
  };
  if (best <= 0) {
    ExpectError(ExitCode::kBudget, {}, search);
    return;
  }
  const GlobalSearchResult result = search();
  EXPECT_LE(small.costs.Of(result.plan), limit);
  EXPECT_TRUE(small.Holds(result.plan, limits));
  EXPECT_NEAR(result.kept_score, best, 1e-12);
  EXPECT_NEAR(small.ScoreOf(result.plan), best, 1e-12);
}

TEST(SearchCurves, IsTheOptimumForEveryBudget) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const SmallSearch small = WithCurves(seed);
    for (int64_t limit = 0; limit <= small.costs.Dense() + 1; ++limit) {
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      ExpectOptimum(small, {}, limit);
    }
  }
}

TEST(SearchCurves, HoldsToMultiplesAndToWhatMustStay) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const SmallSearch small = WithCurves(seed);
    for (int64_t limit = 0; limit <= small.costs.Dense(); limit += 3) {
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      ExpectOptimum(small, {.multiple = 2, .least = {1, 2, 0, 1}}, limit);
    }
  }
}

TEST(SearchCurves, OtherSearchesStayWithinThem) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const SmallSearch small = WithCurves(seed);
    for (const double share : {0.7, 0.9, 1.0}) {
      const auto limit = static_cast<int64_t>(share * static_cast<double>(small.costs.Dense()));
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      const Plan ranked =
          SearchByRank(small.spec, small.scores, small.costs, limit, {.multiple = 2, .least = {}})
              .plan;
      EXPECT_LE(small.costs.Of(ranked), limit);
      EXPECT_EQ(share == 1.0, ranked == FullPlan(small.costs.units));
    }
  }
}

TEST(SearchCurves, TheEvenShapeIsTheWidestThatFits) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const SmallSearch small = WithCurves(seed);
    const auto cost = [&](int64_t width) {
      const auto& curves = small.costs.curves;
      const auto w = static_cast<size_t>(width);
      return small.costs.fixed + curves[0][2] + curves[2][1] + curves[1][w] + curves[3][w];
    };
    for (int64_t width = 1; width <= 4; ++width) {
      const Plan plan =
          SearchEvenly(small.spec, small.scores, small.costs, cost(width), {}, 1).plan;
      const auto found = static_cast<int64_t>(plan.kept[1].size());
      EXPECT_GE(found, width);
      EXPECT_LE(cost(found), cost(width));
      EXPECT_EQ(plan.kept[3].size(), plan.kept[1].size());
    }
    if (cost(1) > 0) {
      ExpectError(ExitCode::kBudget, {},
                  [&] { SearchEvenly(small.spec, small.scores, small.costs, cost(1) - 1, {}, 1); });
    }
  }
}

}  // namespace
}  // namespace coppice
