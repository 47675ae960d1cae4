// Blocks of channels and units that must stay: what every search gets to choose from, and the
// global search's optimum over it.
#include "search/unit_blocks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "search/search_testing.h"

namespace coppice {
namespace {

TEST(UnitBlocks, HoldEveryUnitOnceTheBestFirst) {
  for (const int64_t multiple : {1, 2, 3, 4, 100}) {
    const SmallSearch small(1);
    const SearchLimits limits{.multiple = multiple, .least = {}};
    for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
      const std::vector<UnitBlock> blocks =
          MakeBlocks(small.spec, small.scores, small.costs, limits, kind);
      std::vector<std::set<int64_t>> seen(small.spec.sub_layers.size());
      std::vector<double> worst(small.spec.sub_layers.size(), INFINITY);
      for (const UnitBlock& block : blocks) {
        const size_t i = block.sub_layer;
        const int64_t units = small.spec.sub_layers[i].units;
        const int64_t size = kind == UnitKind::kHead ? 1 : multiple;
        EXPECT_EQ(small.spec.sub_layers[i].kind, kind);
        EXPECT_FALSE(block.required);
        // All but the last of a sub-layer are whole.
        EXPECT_EQ(static_cast<int64_t>(block.units.size()),
                  std::min(size, units - static_cast<int64_t>(seen[i].size())));
        double score = 0;
        for (const int64_t unit : block.units) {
          EXPECT_TRUE(seen[i].insert(unit).second);
          score += small.Score(i, unit);
          EXPECT_LE(small.Score(i, unit), worst[i]);
        }
        for (const int64_t unit : block.units) worst[i] = std::min(worst[i], small.Score(i, unit));
        EXPECT_NEAR(block.score, score, 1e-12);
        EXPECT_EQ(block.cost, small.costs.unit[i] * static_cast<int64_t>(block.units.size()));
        EXPECT_NEAR(block.mean(), score / static_cast<double>(block.units.size()), 1e-12);
      }
      for (size_t i = 0; i < seen.size(); ++i) {
        const bool mine = small.spec.sub_layers[i].kind == kind;
        EXPECT_EQ(static_cast<int64_t>(seen[i].size()), mine ? small.spec.sub_layers[i].units : 0);
      }
    }
  }
}

TEST(UnitBlocks, OfEqualScoresKeepTheirOrder) {
  SmallSearch small(1);
  small.scores[1].fill_(0.5);
  const std::vector<UnitBlock> blocks = MakeBlocks(
      small.spec, small.scores, small.costs, {.multiple = 2, .least = {}}, UnitKind::kChannel);
  EXPECT_EQ(blocks[0].units, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(blocks[1].units, (std::vector<int64_t>{2, 3}));
}

// The best of each sub-layer, as many as asked for or a block more.
TEST(UnitBlocks, RequireAtLeastWhatIsAskedFor) {
  const SmallSearch small(2);
  const SearchLimits limits{.multiple = 2, .least = {1, 3, 0, 2}};
  int64_t heads = 0, channels[2] = {0, 0};
  for (const UnitBlock& block :
       MakeBlocks(small.spec, small.scores, small.costs, limits, UnitKind::kHead)) {
    if (!block.required) continue;
    ++heads;
    EXPECT_EQ(block.sub_layer, 0u);
    EXPECT_EQ(block.score, small.scores[0].max().item<double>());
  }
  for (const UnitBlock& block :
       MakeBlocks(small.spec, small.scores, small.costs, limits, UnitKind::kChannel)) {
    if (block.required) channels[block.sub_layer / 2] += static_cast<int64_t>(block.units.size());
  }
  EXPECT_EQ(heads, 1);
  EXPECT_EQ(channels[0], 4);  // 3, in blocks of 2
  EXPECT_EQ(channels[1], 2);
}

TEST(UnitBlocks, MakeAPlanInAscendingOrder) {
  const SmallSearch small(3);
  const UnitBlock first{.sub_layer = 1, .units = {3, 0}};
  const UnitBlock second{.sub_layer = 3, .units = {1}};
  const UnitBlock third{.sub_layer = 1, .units = {2}};
  EXPECT_EQ(PlanOf(small.spec, {&first, &second, &third}), (Plan{{{}, {0, 2, 3}, {}, {1}}}));
  EXPECT_EQ(PlanOf(small.spec, {}), (Plan{{{}, {}, {}, {}}}));
}

// Every plan of whole blocks that keeps what it must, tried one by one.
std::optional<double> BestByForce(const SmallSearch& small, const SearchLimits& limits,
                                  int64_t limit) {
  std::optional<double> best;
  small.ForEveryPlan([&](const Plan& plan) {
    if (small.costs.Of(plan) > limit || !small.Holds(plan, limits)) return;
    best = std::max(best.value_or(-1), small.ScoreOf(plan));
  });
  return best;
}

TEST(GlobalSearchInBlocks, IsTheOptimumOfWholeBlocks) {
  int refused = 0, accepted = 0;
  const std::vector<SearchLimits> all = {{2, {}},           {1, {1, 1, 1, 1}}, {2, {0, 2, 0, 2}},
                                         {4, {1, 4, 0, 0}}, {2, {2, 0, 1, 4}}, {1, {0, 3, 0, 1}}};
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const SmallSearch small(seed);
    for (const SearchLimits& limits : all) {
      for (int64_t limit = 0; limit <= small.costs.Dense() + 1; ++limit) {
        SCOPED_TRACE(fmt::format("seed {} multiple {} limit {}", seed, limits.multiple, limit));
        const auto best = BestByForce(small, limits, limit);
        const auto search = [&] {
          return SearchGlobally(small.spec, small.scores, small.costs, limit, SearchRules::kExact,
                                limits);
        };
        if (!best || *best <= 0) {  // nothing, or nothing but the empty plan
          ++refused;
          ExpectError(ExitCode::kBudget, {fmt::format("at most {}", limit)}, search);
          continue;
        }
        ++accepted;
        const GlobalSearchResult found = search();
        ASSERT_NO_THROW(ValidatePlan(found.plan, small.costs.units, "plan"));
        EXPECT_LE(small.costs.Of(found.plan), limit);
        EXPECT_TRUE(small.Holds(found.plan, limits));
        EXPECT_NEAR(small.ScoreOf(found.plan), *best, 1e-12);
        EXPECT_NEAR(found.kept_score, *best, 1e-12);
      }
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(accepted, 500);
}

// A last block is smaller than the others there: nothing is left out that fits, and never too much.
TEST(GlobalSearchInBlocks, StaysWithinTheBudgetWhereWidthsAreNotMultiples) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const SmallSearch small(seed);
    const SearchLimits limits{.multiple = 3, .least = {1, 1, 0, 1}};
    for (int64_t limit = 0; limit <= small.costs.Dense() + 1; ++limit) {
      try {
        const GlobalSearchResult found = SearchGlobally(small.spec, small.scores, small.costs,
                                                        limit, SearchRules::kExact, limits);
        EXPECT_LE(small.costs.Of(found.plan), limit);
        EXPECT_TRUE(small.Holds(found.plan, limits));
        if (limit >= small.costs.Dense()) {
          EXPECT_EQ(found.plan, FullPlan(small.costs.units));
        }
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBudget);
      }
    }
  }
}

}  // namespace
}  // namespace coppice
