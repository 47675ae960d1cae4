// The plans by MACs that compete for a latency, on curves and costs made by hand.
#include "pipeline/obs_plans.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "model/model.h"
#include "pipeline/select.h"
#include "testdata.h"

namespace coppice {
namespace {

class PlanAtMacsTest : public testing::Test {
 protected:
  PlanAtMacsTest() : model_(LoadModel(TinyFolder("bert-classification"))) {
    for (size_t i = 0; i < model_.spec.sub_layers.size(); ++i) {
      const int64_t units = model_.spec.sub_layers[i].units;
      ObsCurve curve;
      for (int64_t count = 0; count <= units; ++count) {
        const double gone = static_cast<double>(units - count) / static_cast<double>(units);
        curve.counts.push_back(count);
        curve.losses.push_back(static_cast<double>(i + 1) * gone * gone);
      }
      curve.order.resize(static_cast<size_t>(units));
      std::iota(curve.order.begin(), curve.order.end(), 0);
      scores_.curves.push_back(std::move(curve));
      // Early channels matter most, late heads.
      at::Tensor fisher = at::arange(1, units + 1, at::kDouble);
      if (model_.spec.sub_layers[i].kind == UnitKind::kChannel) fisher = fisher.flip(0);
      scores_.fisher.push_back(fisher / static_cast<double>(units * units));
    }
    macs_ = MakeCostTable(model_, CostKind::kMacs, CostScope::kBlocks, 16);
    limits_.multiple = 16;
  }

  // A head costs `head`, a channel `channel`, anything `fixed`.
  CostTable Times(int64_t head, int64_t channel, int64_t fixed) const {
    CostTable times;
    times.fixed = fixed;
    for (const SubLayerSpec& sub : model_.spec.sub_layers) {
      const int64_t one = sub.kind == UnitKind::kHead ? head : channel;
      std::vector<int64_t> curve;
      for (int64_t units = 0; units <= sub.units; ++units) curve.push_back(units * one);
      times.curves.push_back(std::move(curve));
      times.units.push_back(sub.units);
    }
    return times;
  }

  ObsPlan ByLevels(const CostTable& costs, int64_t limit) const {
    return PlanByLevels(model_.spec, scores_, costs, limit, limits_);
  }

  // What is added beside the plan of the times.
  std::vector<ObsPlan> WithMacs(const CostTable& times, int64_t limit) const {
    std::vector<ObsPlan> plans = {ByLevels(times, limit)};
    AddPlanAtMacs(model_.spec, scores_, macs_, times, limit, limits_, &plans);
    return plans;
  }

  Model model_;
  ObsScores scores_;
  CostTable macs_;
  SearchLimits limits_;
};

TEST_F(PlanAtMacsTest, KeepsTheMostMacsThatAreInTime) {
  const CostTable times = Times(/*head=*/900, /*channel=*/10, /*fixed=*/500);
  int added = 0;
  for (const double keep : {0.3, 0.5, 0.7, 0.9}) {
    SCOPED_TRACE(keep);
    const int64_t limit = BudgetLimit(times, keep);
    const std::vector<ObsPlan> plans = WithMacs(times, limit);
    EXPECT_EQ(plans[0].name, "levels");
    EXPECT_EQ(plans[0].plan, ByLevels(times, limit).plan);
    // Every share of the MACs, a thousandth apart.
    ObsPlan last;
    for (int64_t part = 100; part <= 1000; ++part) {
      ObsPlan tried = ByLevels(macs_, macs_.Dense() * part / 1000);
      if (times.Of(tried.plan) <= limit) last = std::move(tried);
    }
    EXPECT_LE(times.Of(plans.back().plan), limit);
    EXPECT_LE(plans.back().loss, last.loss + 1e-12);
    EXPECT_GE(plans.back().loss, plans[0].loss);  // which the times' knapsack has least of
    if (plans.size() == 1) continue;
    ++added;
    ASSERT_EQ(plans.size(), 2U);
    EXPECT_EQ(plans[1].name, "levels at MACs");
    EXPECT_NE(plans[1].plan, plans[0].plan);
  }
  EXPECT_GE(added, 2);
}

TEST_F(PlanAtMacsTest, FishersCountsAreThoseOfMostMacsInTime) {
  const CostTable times = Times(/*head=*/900, /*channel=*/10, /*fixed=*/500);
  PruneOptions options;
  int different = 0;
  for (const double keep : {0.3, 0.5, 0.7, 0.9}) {
    SCOPED_TRACE(keep);
    const int64_t limit = BudgetLimit(times, keep);
    options.allocation = "fisher";
    const auto at_macs = [&](int64_t most) {
      return MakeObsPlans(model_.spec, scores_, macs_, most, limits_, options).front();
    };
    const std::vector<ObsPlan> found =
        MakeObsPlans(model_.spec, scores_, times, limit, limits_, options, &macs_);
    ASSERT_GE(found.size(), 1U);
    EXPECT_EQ(found[0].name, "fisher at MACs");
    EXPECT_LE(times.Of(found[0].plan), limit);
    // What --keep-macs chooses with as many MACs; with a little more it is too slow.
    int64_t most = macs_.Of(found[0].plan);
    EXPECT_EQ(at_macs(most).plan, found[0].plan);
    while (most < macs_.Dense() && at_macs(most).plan == found[0].plan) most += 64;
    EXPECT_GT(times.Of(at_macs(most).plan), limit);
    const ObsPlan by_time =
        MakeObsPlans(model_.spec, scores_, times, limit, limits_, options).front();
    EXPECT_EQ(by_time.name, "fisher");
    different += by_time.plan != found[0].plan ? 1 : 0;
  }
  EXPECT_GE(different, 1);
}

TEST_F(PlanAtMacsTest, IsNotTriedWhereItIsThereAlready) {
  for (const double keep : {0.4, 0.8, 1.0})
    EXPECT_EQ(WithMacs(macs_, BudgetLimit(macs_, keep)).size(), 1U) << keep;
  const CostTable times = Times(900, 10, 500);
  const int64_t limit = BudgetLimit(times, 0.5);
  std::vector<ObsPlan> plans = WithMacs(times, limit);
  ASSERT_EQ(plans.size(), 2U);
  AddPlanAtMacs(model_.spec, scores_, macs_, times, limit, limits_, &plans);
  EXPECT_EQ(plans.size(), 2U);
}

TEST_F(PlanAtMacsTest, IsNotTriedWhereNoShareIsInTime) {
  const CostTable times = Times(900, 10, 500);
  std::vector<ObsPlan> plans;
  for (const int64_t limit : {0, 500, 500 + 159})  // sixteen channels are the least
    AddPlanAtMacs(model_.spec, scores_, macs_, times, limit, limits_, &plans);
  EXPECT_TRUE(plans.empty());
  limits_.least = {3, 48, 3, 48};
  const int64_t least = 500 + 2 * (3 * 900 + 48 * 10);
  AddPlanAtMacs(model_.spec, scores_, macs_, times, least - 1, limits_, &plans);
  EXPECT_TRUE(plans.empty());
  AddPlanAtMacs(model_.spec, scores_, macs_, times, times.Dense(), limits_, &plans);
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_EQ(plans[0].plan, FullPlan(times.units));
}

}  // namespace
}  // namespace coppice
