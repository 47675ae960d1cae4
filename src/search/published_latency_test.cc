// The published latency search: its model of a table, what it finds where nothing is dropped, and
// the defects that are part of it.
#include "search/published_latency.h"

#include <gtest/gtest.h>

#include "search/search_testing.h"

namespace coppice {
namespace {

std::vector<double> ConstantThenLine(int64_t units, int64_t threshold, double c, double slope) {
  std::vector<double> table;
  for (int64_t k = 1; k <= units; ++k)
    table.push_back(c + slope * static_cast<double>(std::max<int64_t>(0, k - threshold)));
  return table;
}

// Layers of 3 heads and 4 channels; times of heads 10, 10, 15 and of channels 6, 6, 8, 10.
struct Published {
  explicit Published(int layers, uint64_t seed = 0) {
    Random random(seed);
    for (int i = 0; i < 2 * layers; ++i) {
      const bool heads = i % 2 == 0;
      SubLayerSpec sub;
      sub.kind = heads ? UnitKind::kHead : UnitKind::kChannel;
      sub.units = heads ? 3 : 4;
      spec.sub_layers.push_back(sub);
      costs.units.push_back(sub.units);
      costs.curves.push_back(heads ? std::vector<int64_t>{0, 10, 10, 15}
                                   : std::vector<int64_t>{0, 6, 6, 8, 10});
      std::vector<double> row;
      for (int64_t k = 0; k < sub.units; ++k) row.push_back(0.1 + random.Uniform());
      scores.push_back(at::tensor(row, at::kDouble));
    }
  }
  Plan Search(int64_t limit) const {
    return SearchGlobally(spec, scores, costs, limit, SearchRules::kPublished).plan;
  }

  ModelSpec spec;
  std::vector<at::Tensor> scores;
  CostTable costs;
};

TEST(PublishedLatency, FindsTheThresholdTheConstantAndTheSlope) {
  for (const int64_t threshold : {1, 3, 7}) {
    const PublishedLatency fit = FitPublishedLatency(ConstantThenLine(12, threshold, 5, 0.25));
    EXPECT_EQ(fit.threshold, threshold);
    EXPECT_NEAR(fit.constant, 5, 1e-12);
    EXPECT_NEAR(fit.slope, 0.25, 1e-12);
  }
  EXPECT_EQ(FitPublishedLatency({4, 4, 4, 4}).slope, 0);
  EXPECT_EQ(FitPublishedLatency({4, 3, 2, 1}).slope, 0);  // never negative
}

TEST(PublishedLatency, TakesTheBestUnitsBeyondTheThresholdThatFit) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Published one(/*layers=*/1, seed);
    // 16 for the layer, 5 for the third head, 2 for each channel beyond two.
    EXPECT_EQ(one.Search(25), FullPlan(one.costs.units));
    const Plan plan = one.Search(23);
    EXPECT_EQ(plan.kept[0].size(), 3U);  // the search starts at one head beyond the threshold
    EXPECT_EQ(plan.kept[1].size(), 3U);
    const int64_t worst = one.scores[1].argmin().item<int64_t>();
    EXPECT_EQ(std::count(plan.kept[1].begin(), plan.kept[1].end(), worst), 0);
    EXPECT_EQ(one.Search(21).kept[1].size(), 2U);
  }
}

// Rounding toward zero lets it go over by less than a channel.
TEST(PublishedLatency, FindsNothingWithoutAHeadBeyondTheThreshold) {
  const Published one(1);
  EXPECT_EQ(one.costs.Of(one.Search(20)), 21);
  ExpectError(ExitCode::kBudget, {"published latency search finds no plan"},
              [&] { one.Search(19); });
}

// Two layers of each kind cost 32 before any other unit; a third head 5. At 36 that is too much,
// and dropping one layer would do (26 + 5); but the published budget has gone below zero by then.
TEST(PublishedLatency, NeverSetsItsBudgetBack) {
  const Published two(2);
  EXPECT_EQ(two.Search(50), FullPlan(two.costs.units));
  EXPECT_NO_THROW(two.Search(37));
  ExpectError(ExitCode::kBudget, {"finds no plan"}, [&] { two.Search(31); });
}

TEST(PublishedLatency, CountsTheShareOfHeadsAndChannelsAlone) {
  Published one(1);
  one.costs.fixed = 75;  // limit 92 of 100 is 23 of 25
  EXPECT_EQ(one.Search(92).kept[1].size(), 3U);
}

TEST(PublishedLatency, RefusesWhatItWouldDivideBy) {
  Published one(1);
  one.costs.curves[1] = {0, 6, 6, 6, 6};
  ExpectError(ExitCode::kBudget, {"divides by channels that cost nothing"},
              [&] { one.Search(20); });
  Published uneven(2);
  uneven.spec.sub_layers[2].units = 2;
  ExpectError(ExitCode::kBudget, {"layers of one shape"}, [&] { uneven.Search(40); });
}

}  // namespace
}  // namespace coppice
