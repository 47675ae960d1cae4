// The search by rank against the same rule written out for single units, and the even search
// against every width.
#include "search/even_search.h"

#include <gtest/gtest.h>

#include "search/search_testing.h"

namespace coppice {
namespace {

// The next best unit that fits, until none does; unit by unit, with nothing that must stay.
Plan RankByHand(const SmallSearch& small, int64_t limit) {
  Plan plan{std::vector<std::vector<int64_t>>(small.costs.units.size())};
  int64_t rest = limit - small.costs.fixed;
  std::vector<std::pair<size_t, int64_t>> left;
  for (size_t i = 0; i < small.costs.units.size(); ++i) {
    for (int64_t unit = 0; unit < small.costs.units[i]; ++unit) left.emplace_back(i, unit);
  }
  while (!left.empty()) {
    const auto best = std::max_element(left.begin(), left.end(), [&](auto a, auto b) {
      return small.Score(a.first, a.second) < small.Score(b.first, b.second);
    });
    if (small.costs.unit[best->first] <= rest) {
      rest -= small.costs.unit[best->first];
      plan.kept[best->first].push_back(best->second);
    }
    left.erase(best);
  }
  for (std::vector<int64_t>& kept : plan.kept) std::sort(kept.begin(), kept.end());
  return plan;
}

TEST(SearchByRank, TakesTheBestThatFits) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const SmallSearch small(seed, seed % 2 == 0 ? 0 : 5);
    for (int64_t limit = 0; limit <= small.costs.Dense() + 1; ++limit) {
      SCOPED_TRACE(fmt::format("seed {} limit {}", seed, limit));
      const auto search = [&] {
        return SearchByRank(small.spec, small.scores, small.costs, limit, {});
      };
      if (limit < small.costs.fixed + 3) {
        ExpectError(ExitCode::kBudget, {fmt::format("at most {}", limit)}, search);
        continue;
      }
      const GlobalSearchResult found = search();
      EXPECT_EQ(found.plan, RankByHand(small, limit));
      EXPECT_LE(small.costs.Of(found.plan), limit);
      EXPECT_NEAR(found.kept_score, small.ScoreOf(found.plan), 1e-12);
    }
    EXPECT_EQ(SearchByRank(small.spec, small.scores, small.costs, small.costs.Dense(), {}).plan,
              FullPlan(small.costs.units));
  }
}

TEST(SearchByRank, HoldsToMultiplesAndToWhatMustStay) {
  int refused = 0, accepted = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const SmallSearch small(seed);
    for (const SearchLimits& limits :
         {SearchLimits{2, {}}, SearchLimits{3, {1, 1, 0, 2}}, SearchLimits{1, {0, 4, 1, 0}},
          SearchLimits{2, {1, 2, 1, 2}}}) {
      // What must stay, in whole blocks.
      int64_t least = 0;
      for (size_t i = 0; i < limits.least.size(); ++i) {
        const int64_t size = i % 2 == 0 ? 1 : limits.multiple;
        const int64_t units = (limits.least[i] + size - 1) / size * size;
        least += small.costs.unit[i] * std::min(units, small.costs.units[i]);
      }
      for (int64_t limit = 0; limit <= small.costs.Dense(); ++limit) {
        SCOPED_TRACE(fmt::format("seed {} multiple {} limit {}", seed, limits.multiple, limit));
        const auto search = [&] {
          return SearchByRank(small.spec, small.scores, small.costs, limit, limits);
        };
        if (limit < std::max<int64_t>(least, limits.least.empty() ? 3 * limits.multiple : 1)) {
          ++refused;
          ExpectError(ExitCode::kBudget, {fmt::format("at most {}", limit)}, search);
          continue;
        }
        ++accepted;
        const GlobalSearchResult found = search();
        ASSERT_NO_THROW(ValidatePlan(found.plan, small.costs.units, "plan"));
        EXPECT_LE(small.costs.Of(found.plan), limit);
        EXPECT_TRUE(small.Holds(found.plan, limits));
      }
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(accepted, 500);
}

// A sub-layer's smaller last block holds its worst units, and stays out while a better one is out.
TEST(SearchByRank, NeverTakesALastBlockAlone) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const SmallSearch small(seed);
    const SearchLimits limits{.multiple = 3, .least = {}};
    for (int64_t limit = 7; limit <= small.costs.Dense(); ++limit) {
      const GlobalSearchResult found =
          SearchByRank(small.spec, small.scores, small.costs, limit, limits);
      EXPECT_TRUE(small.Holds(found.plan, limits)) << "seed " << seed << " limit " << limit;
    }
  }
}

// Of each sub-layer's best `count` units.
double BestScore(const SmallSearch& small, size_t sub_layer, int64_t count) {
  return std::get<0>(small.scores[sub_layer].topk(count)).sum().item<double>();
}

TEST(SearchEvenly, TakesTheWidestShapeThatFits) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const SmallSearch small(seed, seed % 2 == 0 ? 0 : 5);
    for (const int64_t multiple : {1, 2, 3}) {
      for (const double keep : {0.0, 0.5, 1.0}) {
        const int64_t first = keep == 1 ? 2 : 1;  // of 2 heads; the other layer has one
        for (int64_t limit = 0; limit <= small.costs.Dense() + 1; ++limit) {
          SCOPED_TRACE(
              fmt::format("seed {} multiple {} keep {} limit {}", seed, multiple, keep, limit));
          int64_t widest = 0;
          for (int64_t width = 1; width <= 4; ++width) {
            const bool whole = width % multiple == 0 || width == 4;
            const int64_t cost = small.costs.fixed + 7 * (first + 1) + 3 * 2 * width;
            if (whole && cost <= limit) widest = width;
          }
          const auto search = [&] {
            return SearchEvenly(small.spec, small.scores, small.costs, limit,
                                {.multiple = multiple, .least = {}}, keep);
          };
          if (widest == 0) {
            ExpectError(ExitCode::kBudget, {fmt::format("at most {}", limit), "uniform shape"},
                        search);
            continue;
          }
          const GlobalSearchResult found = search();
          ASSERT_NO_THROW(ValidatePlan(found.plan, small.costs.units, "plan"));
          const std::vector<int64_t> counts = {first, widest, 1, widest};
          double best = 0;
          for (size_t i = 0; i < counts.size(); ++i) {
            EXPECT_EQ(static_cast<int64_t>(found.plan.kept[i].size()), counts[i]);
            best += BestScore(small, i, counts[i]);
          }
          EXPECT_NEAR(small.ScoreOf(found.plan), best, 1e-12);
          EXPECT_NEAR(found.kept_score, best, 1e-12);
          EXPECT_LE(small.costs.Of(found.plan), limit);
        }
      }
    }
  }
}

}  // namespace
}  // namespace coppice
