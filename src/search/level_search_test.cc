// The knapsack against every choice, tried one by one.
#include "search/level_search.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace coppice {
namespace {

std::vector<Levels> RandomTable(uint64_t seed, size_t sub_layers) {
  Random random(seed);
  std::vector<Levels> table;
  for (size_t i = 0; i < sub_layers; ++i) {
    Levels levels;
    double loss = 2 + random.Uniform();
    int64_t cost = 0;
    for (int64_t units = 0; units <= 3 + random.Below(3); ++units) {
      levels.push_back({units, loss, cost});
      loss *= random.Uniform();
      cost += 1 + random.Below(40);
    }
    levels.back().loss = 0;
    table.push_back(levels);
  }
  return table;
}

double BestLoss(const std::vector<Levels>& table, int64_t limit, size_t from = 0) {
  if (limit < 0) return std::numeric_limits<double>::infinity();
  if (from == table.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Level& level : table[from])
    best = std::min(best, level.loss + BestLoss(table, limit - level.cost, from + 1));
  return best;
}

TEST(LevelSearch, OrdersLevelsOfSeveralWidths) {
  const Levels levels = InOrder({{0, 9, 0},
                                 {1, 5, 10},
                                 {2, 0, 20},
                                 {1, 5, 8, {.values = 4}},
                                 {2, 3, 14, {.values = 3}},
                                 {2, 6, 12, {.values = 2}},
                                 {2, 4, 14, {.values = 1}}});
  std::vector<int64_t> costs;
  for (const Level& level : levels) costs.push_back(level.cost);
  EXPECT_EQ(costs, (std::vector<int64_t>{0, 8, 14, 20}));
  EXPECT_EQ(levels[1].shape.values, 4);
  EXPECT_EQ(levels[2].shape.values, 3);
}

TEST(LevelSearch, FindsTheLeastLossOfAll) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<Levels> table = RandomTable(seed, 5);
    for (const int64_t limit : {0, 17, 60, 150, 300, 10000}) {
      const LevelChoice choice = ChooseLevels(table, limit);
      ASSERT_EQ(choice.level.size(), table.size());
      EXPECT_NEAR(choice.loss, BestLoss(table, limit), 1e-12) << seed << " " << limit;
      EXPECT_LE(choice.cost, limit);
      int64_t cost = 0;
      for (size_t i = 0; i < table.size(); ++i) cost += table[i][choice.level[i]].cost;
      EXPECT_EQ(cost, choice.cost);
    }
  }
}

TEST(LevelSearch, FindsTheLargestLimitThatIsAccepted) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<Levels> table = RandomTable(seed, 5);
    int64_t limit = 0;
    for (const Levels& levels : table) limit += levels.back().cost;
    // Levels of another cost, which does not grow in step.
    const auto accepted = [&](const LevelChoice& choice) {
      size_t sum = 0;
      for (size_t i = 0; i < choice.level.size(); ++i) sum += (i + 1) * choice.level[i];
      return sum <= 25;
    };
    LevelChoice expected = ChooseLevels(table, limit);
    EXPECT_FALSE(accepted(expected));
    while (!accepted(expected)) expected = ChooseLevels(table, --limit);
    EXPECT_EQ(LargestChoice(table, accepted).level, expected.level) << seed;
    const auto all = [](const LevelChoice&) { return true; };
    EXPECT_EQ(LargestChoice(table, all).loss, 0);
    const auto none = [](const LevelChoice&) { return false; };
    EXPECT_TRUE(LargestChoice(table, none).level.empty());
  }
}

TEST(LevelSearch, NeverExceedsALargeBudgetAndSpendsWhatRoundingLeaves) {
  std::vector<Levels> table(40);
  int64_t dense = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    for (int64_t units = 0; units <= 50; ++units)
      table[i].push_back({units, 1.0 / static_cast<double>(1 + units), units * 1234577});
    dense += table[i].back().cost;
  }
  const LevelChoice choice = ChooseLevels(table, dense / 2);
  EXPECT_LE(choice.cost, dense / 2);
  EXPECT_GT(choice.cost, dense / 2 - 1234577);
  for (size_t i = 0; i < table.size(); ++i)
    EXPECT_NEAR(static_cast<double>(choice.level[i]), 25, 1);
}

TEST(LevelSearch, SaysWhenNothingFits) {
  std::vector<Levels> table = {{{1, 0.5, 10}, {2, 0, 20}}, {{1, 0.5, 10}, {2, 0, 20}}};
  EXPECT_TRUE(ChooseLevels(table, 19).level.empty());
  EXPECT_EQ(ChooseLevels(table, 20).level, (std::vector<size_t>{0, 0}));
  EXPECT_TRUE(ChooseLevels(table, -1).level.empty());
}

}  // namespace
}  // namespace coppice
