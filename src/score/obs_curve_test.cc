// The sweep against the objective written out: every level's loss is that of the refit which drops
// its units.
#include "score/obs_curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "model/model_testing.h"
#include "score/obs_sweep.h"

namespace coppice {
namespace {

constexpr double kDamping = 1e-2;

// A sub-layer of `units` units of `width` inputs, correlated, with a metric that is far from round.
struct Problem {
  Problem(int64_t units, int64_t width, uint64_t seed, double extreme = 1) : width_of_unit(width) {
    Random random(seed);
    const int64_t inputs = units * width, outputs = 6;
    const at::Tensor mix = RandomTensor({inputs, inputs}, &random) / std::sqrt(double(inputs));
    // In steps of 1/32, so that float32 sums of products are exact in any order.
    x = ((at::mm(RandomTensor({400, inputs}, &random), mix) + 0.3) * 32).round() / 32;
    x.select(1, 0).mul_(extreme);
    weight = RandomTensor({inputs, outputs}, &random);
    g = at::mm(RandomTensor({400, outputs}, &random), RandomTensor({outputs, outputs}, &random));
    curvature.positions = 40;
    curvature.Add(x, g);
  }
  // Damped as in the sweep.
  at::Tensor Gram(bool centred) const {
    const at::Tensor x64 = x.to(at::kDouble);
    const at::Tensor from = centred ? x64 - x64.mean(0, true) : x64;
    at::Tensor a = at::mm(from.t(), from);
    a.diagonal().add_(kDamping * a.diagonal().mean());
    a.diagonal().mul_(1 + 1e-4);
    return a;
  }
  at::Tensor RowsOf(const std::vector<int64_t>& kept) const {
    std::vector<int64_t> rows;
    for (const int64_t unit : kept) {
      for (int64_t k = 0; k < width_of_unit; ++k) rows.push_back(unit * width_of_unit + k);
    }
    return at::tensor(rows, at::kLong);
  }
  // The best weights of the kept units' inputs.
  at::Tensor Fit(const std::vector<int64_t>& kept, bool centred) const {
    const at::Tensor a = Gram(centred), rows = RowsOf(kept);
    const at::Tensor block = a.index_select(0, rows).index_select(1, rows);
    return at::linalg_solve(block, at::mm(a.index_select(0, rows), weight.to(at::kDouble)));
  }
  // tr(G E'A E) / 2 / positions of the best refit to `kept`.
  double LossWithout(const std::vector<int64_t>& kept, bool centred) const {
    const at::Tensor metric = at::mm(g.to(at::kDouble).t(), g.to(at::kDouble)) / 400;
    at::Tensor error = weight.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
    if (!kept.empty()) error.index_add_(0, RowsOf(kept), -Fit(kept, centred));
    const at::Tensor cost =
        at::mm(metric, at::mm(error.t(), at::mm(Gram(centred), error))).trace() / 2;
    return cost.item<double>() / 40;
  }
  int64_t width_of_unit;
  at::Tensor x, weight, g;
  Curvature curvature;
};

TEST(ObsCurve, EveryWidthCostsWhatItsRefitCosts) {
  for (const bool centred : {true, false}) {
    const Problem p(40, 1, 1);
    const ObsCurve curve = MakeObsCurve(p.curvature, p.weight, 1,
                                        {.damping = kDamping, .block = 4, .fit_bias = centred});
    ASSERT_EQ(curve.counts.size(), 11u);
    EXPECT_EQ(curve.counts.front(), 0);
    EXPECT_EQ(curve.counts.back(), 40);
    for (size_t k = 0; k < curve.counts.size(); ++k) {
      const double expected = p.LossWithout(KeptUnits(curve, curve.counts[k]), centred);
      EXPECT_NEAR(curve.losses[k], expected, 1e-5 * curve.losses.front()) << curve.counts[k];
    }
  }
}

TEST(ObsCurve, GivesTheRefitsOfTheWidthsThatAreWanted) {
  for (const bool centred : {true, false}) {
    for (const auto& [units, width] : {std::pair{40, 1}, {8, 3}, {5, 3}}) {
      const Problem a(units, width, 6), b(units, width, 7);
      const std::vector<Swept> swept = MakeObsCurves(
          {{&a.curvature, a.weight}, {&b.curvature, b.weight}}, width,
          {.damping = kDamping, .block = 4, .fit_bias = centred}, {0, 3, 4, 20, 1000});
      ASSERT_EQ(swept.size(), 2u);
      for (const auto& [p, s] : {std::pair{&a, &swept[0]}, {&b, &swept[1]}}) {
        EXPECT_EQ(s->refits.size(), 3u) << units;  // of channels 0, 4 and 20, of heads 0, 3 and 4
        for (const auto& [count, refit] : s->refits) {
          const std::vector<int64_t> kept = KeptUnits(s->curve, count);
          ASSERT_EQ(refit.sizes(), at::IntArrayRef({count * width, 6}));
          if (count == 0) continue;
          EXPECT_LT(MaxDifference(refit, p->Fit(kept, centred)), 1e-5) << count;
        }
      }
    }
  }
}

// What a GPU does with the sub-layers of a model; each alone gives the same.
TEST(ObsCurve, OfSeveralAtOnceAreThoseOfEach) {
  for (const int64_t width : {1, 3}) {
    const Problem a(20, width, 3), b(20, width, 4), c(20, width, 5);
    const ObsOptions options = {.damping = kDamping, .block = 4};
    const std::vector<Swept> swept = MakeObsCurves(
        {{&a.curvature, a.weight}, {&b.curvature, b.weight}, {&c.curvature, c.weight}}, width,
        options);
    ASSERT_EQ(swept.size(), 3u);
    size_t k = 0;
    for (const Problem* p : {&a, &b, &c}) {
      const ObsCurve alone = MakeObsCurve(p->curvature, p->weight, width, options);
      const ObsCurve& together = swept[k++].curve;
      EXPECT_EQ(together.counts, alone.counts);
      EXPECT_EQ(together.order, alone.order);
      for (size_t level = 0; level < alone.losses.size(); ++level)
        EXPECT_NEAR(together.losses[level], alone.losses[level], 1e-9 * alone.losses.front());
    }
  }
}

TEST(ObsCurve, OfHeadsToo) {
  const Problem p(8, 3, 2);
  const ObsCurve curve =
      MakeObsCurve(p.curvature, p.weight, 3, {.damping = kDamping, .enumerate = 0});
  ASSERT_EQ(curve.counts.size(), 9u);
  EXPECT_TRUE(curve.sets.empty());
  for (size_t k = 0; k < curve.counts.size(); ++k) {
    const double expected = p.LossWithout(KeptUnits(curve, curve.counts[k]), true);
    EXPECT_NEAR(curve.losses[k], expected, 1e-5 * curve.losses.front());
  }
}

TEST(ObsCurve, TriesAllSetsOfFewUnits) {
  const Problem p(5, 3, 3);
  const ObsCurve curve = MakeObsCurve(p.curvature, p.weight, 3, {.damping = kDamping});
  ASSERT_EQ(curve.sets.size(), 6u);
  std::vector<double> best(6, INFINITY);
  for (unsigned set = 0; set < 32; ++set) {
    std::vector<int64_t> kept;
    for (int64_t unit = 0; unit < 5; ++unit) {
      if (set >> unit & 1) kept.push_back(unit);
    }
    best[kept.size()] = std::min(best[kept.size()], p.LossWithout(kept, true));
  }
  for (size_t k = 0; k < 6; ++k) EXPECT_NEAR(curve.losses[k], best[k], 1e-5 * best[0]);
}

// LAPACK gives a finite factor of a block that has none.
TEST(ObsSweep, ABlockWithoutAFactorCostsNoNumber) {
  ObsState state;
  state.inverse = at::eye(4, at::kDouble).repeat({2, 1, 1});
  state.inverse[1][0][0] = -0.01;
  state.weight = at::ones({2, 4, 3}, at::kDouble);
  const at::Tensor inputs = at::tensor({0, 1, 0, 1}, at::kLong).view({2, 2});
  const at::Tensor costs = RemoveInputs(inputs, &state).Costs();
  EXPECT_NEAR(costs[0].item<double>(), 3, 1e-12);
  EXPECT_TRUE(std::isnan(costs[1].item<double>()));
}

// Such channels are there in trained models, and once made the sweep's matrix indefinite.
TEST(ObsCurve, SurvivesAChannelOfExtremeEnergy) {
  const Problem p(64, 1, 4, 1e5);
  const ObsCurve curve = MakeObsCurve(p.curvature, p.weight, 1, {.damping = kDamping, .block = 3});
  for (size_t k = 1; k < curve.losses.size(); ++k) {
    EXPECT_TRUE(std::isfinite(curve.losses[k]));
    EXPECT_LE(curve.losses[k], curve.losses[k - 1]);
  }
  EXPECT_EQ(curve.order.back(), 0);  // what matters most leaves last
}

TEST(ObsCurve, TheMetricDecidesWhoLeaves) {
  Random random(5);
  const at::Tensor x = RandomTensor({300, 2}, &random);
  const at::Tensor weight = at::tensor({10.0F, 0.0F, 0.0F, 1.0F}).view({2, 2});
  for (const auto& [first, second, expected] : {std::tuple{1.0F, 1.0F, 1}, {0.01F, 1.0F, 0}}) {
    Curvature curvature;
    curvature.positions = 1;
    curvature.Add(x, RandomTensor({300, 2}, &random) * at::tensor({first, second}));
    const ObsCurve curve = MakeObsCurve(curvature, weight, 1, {.block = 1});
    EXPECT_EQ(curve.order.front(), expected) << first;
  }
}

TEST(ObsCurve, BetweenLevelsOnAStraightLine) {
  const ObsCurve curve = {{0, 4, 8}, {6, 2, 0}, {7, 0, 3, 1, 6, 2, 5, 4}, {}};
  EXPECT_DOUBLE_EQ(LossAt(curve, 0), 6);
  EXPECT_DOUBLE_EQ(LossAt(curve, 1), 5);
  EXPECT_DOUBLE_EQ(LossAt(curve, 6), 1);
  EXPECT_EQ(KeptUnits(curve, 3), (std::vector<int64_t>{2, 4, 5}));
  EXPECT_TRUE(KeptUnits(curve, 0).empty());
}

}  // namespace
}  // namespace coppice
