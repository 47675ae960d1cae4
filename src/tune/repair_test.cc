// The closed-form repairs against least squares of the systems written out token by token, in
// float64.
#include "tune/repair.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/model_testing.h"

namespace coppice {
namespace {

// Inputs X (M, I) and residual R (M, D) with means that are far from zero.
struct Fit {
  Fit(int64_t tokens, int64_t inputs, int64_t outputs, uint64_t seed) {
    Random random(seed);
    x = RandomTensor({tokens, inputs}, &random) + 0.7;
    residual = at::mm(x, RandomTensor({inputs, outputs}, &random)) * 0.3 +
               RandomTensor({tokens, outputs}, &random) - 1.5;
    weight = RandomTensor({inputs, outputs}, &random).to(at::kDouble);
    moments = MomentsOf(x, residual);
  }
  at::Tensor x64() const { return x.to(at::kDouble); }
  at::Tensor r64() const { return residual.to(at::kDouble); }
  // Share of the residual's energy that a repair takes away, token by token.
  double Explained(const RepairResult& repair) const {
    const at::Tensor rest = r64() - at::mm(x64(), repair.weight_change) - repair.bias_change;
    return 1 - (rest.square().sum() / r64().square().sum()).item<double>();
  }
  at::Tensor x, residual;  // float32
  at::Tensor weight;       // (I, D) float64
  Moments moments;
};

at::Tensor Centred(const at::Tensor& x) { return x - x.mean(0, true); }

// argmin |A x - b|^2 + damp |x|^2 as one stacked system.
at::Tensor RidgeByStacking(const at::Tensor& a, const at::Tensor& b, double damp) {
  const at::Tensor identity = at::eye(a.size(1), a.options()) * std::sqrt(damp);
  return std::get<0>(at::linalg_lstsq(at::cat({a, identity}),
                                      at::cat({b, at::zeros({a.size(1), b.size(1)}, b.options())}),
                                      std::nullopt, "gelsd"));
}

TEST(Moments, OfBatchesAddUp) {
  const Fit all(90, 7, 5, 1);
  MomentSum sum;
  for (const auto& [begin, end] : {std::pair{0, 1}, {1, 40}, {40, 90}})
    sum.Add(all.x.slice(0, begin, end), all.residual.slice(0, begin, end));
  const Moments parts = sum.Take();
  EXPECT_EQ(parts.tokens, 90);
  EXPECT_LT(MaxDifference(parts.gram, all.moments.gram), 1e-4);
  EXPECT_LT(MaxDifference(parts.cross, all.moments.cross), 1e-4);
  EXPECT_LT(MaxDifference(all.moments.gram, at::mm(all.x64().t(), all.x64())), 1e-4);
  EXPECT_LT(MaxDifference(all.moments.cross, at::mm(all.x64().t(), all.r64())), 1e-4);
  EXPECT_LT(MaxDifference(parts.input_sum, all.x64().sum(0)), 1e-10);
  EXPECT_LT(MaxDifference(parts.residual_sum, all.r64().sum(0)), 1e-10);
  EXPECT_NEAR(parts.residual_energy, all.r64().square().sum().item<double>(), 1e-3);
}

// Long batches and short ones, over stretches of float32 sums and over the rows that wait.
TEST(Moments, OfManyRowsAddUp) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Random random(8);
    const at::Tensor x = RandomTensor({10000, 140}, &random).to(dtype);
    const at::Tensor residual = RandomTensor({10000, 5}, &random);
    MomentSum sum;
    for (const auto& [begin, end] : {std::pair{0, 1024}, {1024, 1030}, {1030, 9000}, {9000, 10000}})
      sum.Add(x.slice(0, begin, end), residual.slice(0, begin, end));
    const Moments moments = sum.Take();
    const at::Tensor exact = x.to(at::kDouble);
    EXPECT_LT(MaxDifference(moments.gram, at::mm(exact.t(), exact)), 0.02);
    EXPECT_LT(MaxDifference(moments.gram, moments.gram.t()), 1e-2);
    EXPECT_LT(MaxDifference(moments.cross, at::mm(exact.t(), residual.to(dtype).to(at::kDouble))),
              0.02);  // rounded as the inputs are
  }
}

TEST(LeastSquares, IsTheRidgeSolutionOfTheCentredSystem) {
  const Fit p(200, 12, 5, 3);
  for (const double ridge : {1e-6, 1e-2, 1.0}) {
    SCOPED_TRACE(ridge);
    const RepairResult repair = SolveLeastSquares(p.moments, ridge);
    const at::Tensor a = Centred(p.x64());
    const double damp = ridge * (a.square().sum(0).mean()).item<double>();
    const at::Tensor expected = RidgeByStacking(a, Centred(p.r64()), damp);
    EXPECT_LT(MaxDifference(repair.weight_change, expected), 1e-5);
    const at::Tensor bias = p.r64().mean(0) - at::mv(expected.t(), p.x64().mean(0));
    EXPECT_LT(MaxDifference(repair.bias_change, bias), 1e-5);
    EXPECT_EQ(repair.damping, ridge);
    EXPECT_NEAR(repair.explained, p.Explained(repair), 1e-5);
  }
  EXPECT_GT(SolveLeastSquares(p.moments, 1e-6).explained, 0.5);
}

TEST(LeastSquares, SurvivesCollinearAndDeadInputs) {
  Fit p(100, 8, 4, 4);
  p.x.select(1, 3).copy_(p.x.select(1, 2));
  p.x.select(1, 5).zero_();
  p.x.select(1, 6).fill_(2);  // only its mean counts
  const Moments moments = MomentsOf(p.x, p.residual);
  for (const double ridge : {0.0, 1e-2}) {
    const RepairResult repair = SolveLeastSquares(moments, ridge);
    ASSERT_TRUE(repair.weight_change.isfinite().all().item<bool>());
    EXPECT_NEAR(repair.explained, p.Explained(repair), 1e-4);
    const RepairResult reference = SolveLeastSquares(moments, 1e-4);
    EXPECT_GT(p.Explained(repair), 0.9 * p.Explained(reference));
  }
}

TEST(LeastSquares, RaisesTheRidgeUntilItCanFactorise) {
  Random random(5);
  const Moments moments = MomentsOf(RandomTensor({50, 3}, &random), RandomTensor({50, 2}, &random));
  moments.gram.select(1, 1).mul_(-1);  // not positive definite at all
  moments.gram.copy_((moments.gram + moments.gram.t()) / 2);
  const RepairResult repair = SolveLeastSquares(moments, 1e-2);
  EXPECT_GT(repair.damping, 1e-2);
  EXPECT_TRUE(repair.weight_change.isfinite().all().item<bool>());
}

// A sub-layer without units, one whose inputs are all zero, and a residual of nothing.
TEST(Repairs, OfNothing) {
  Random random(6);
  const at::Tensor residual = RandomTensor({20, 3}, &random) + 1;
  const Moments none = MomentsOf(at::zeros({20, 0}), residual);
  const Moments dead = MomentsOf(at::zeros({20, 4}), residual);
  const at::Tensor mean = residual.to(at::kDouble).mean(0);
  for (const RepairResult& repair :
       {SolveLeastSquares(none, 1e-2), SolveScales(none, at::zeros({0, 3}), 2, 1e-2),
        SolveBias(none), SolveLeastSquares(dead, 1e-2),
        SolveScales(dead, at::ones({4, 3}), 2, 1e-2), SolveBias(dead)}) {
    EXPECT_EQ(repair.weight_change.size(1), 3);
    EXPECT_EQ(repair.weight_change.abs().sum().item<double>(), 0);
    EXPECT_LT(MaxDifference(repair.bias_change, mean), 1e-6);
    EXPECT_GT(repair.explained, 0.1);
  }
  const Moments perfect = MomentsOf(RandomTensor({20, 4}, &random), at::zeros({20, 3}));
  const RepairResult repair = SolveLeastSquares(perfect, 1e-2);
  EXPECT_EQ(repair.weight_change.abs().sum().item<double>(), 0);
  EXPECT_EQ(repair.bias_change.abs().sum().item<double>(), 0);
  EXPECT_EQ(repair.explained, 0);
}

// Columns of the design are the units' outputs, flattened over tokens and outputs.
TEST(Scales, AreTheRidgeSolutionOverUnitOutputs) {
  for (const int64_t width : {1, 3}) {
    SCOPED_TRACE(width);
    const int64_t units = 12 / width;
    const Fit p(150, 12, 5, 7);
    std::vector<at::Tensor> columns;
    for (int64_t unit = 0; unit < units; ++unit) {
      const at::Tensor output = at::mm(p.x64().slice(1, unit * width, (unit + 1) * width),
                                       p.weight.slice(0, unit * width, (unit + 1) * width));
      columns.push_back(Centred(output).flatten());
    }
    const at::Tensor a = at::stack(columns, 1);  // (M * D, units)
    const double damp = 1e-2 * a.square().sum(0).mean().item<double>();
    const at::Tensor expected =
        RidgeByStacking(a, Centred(p.r64()).reshape({-1, 1}), damp).squeeze(1);
    const RepairResult repair = SolveScales(p.moments, p.weight, width, 1e-2);
    const at::Tensor scaled = p.weight * expected.repeat_interleave(width).unsqueeze(1);
    EXPECT_GT(expected.abs().max().item<double>(), 0.05);
    EXPECT_LT(MaxDifference(repair.weight_change, scaled), 1e-5);
    EXPECT_LT(
        MaxDifference(repair.bias_change, p.r64().mean(0) - at::mv(scaled.t(), p.x64().mean(0))),
        1e-5);
    EXPECT_NEAR(repair.explained, p.Explained(repair), 1e-5);
    EXPECT_LT(repair.explained, SolveLeastSquares(p.moments, 1e-4).explained);
    EXPECT_GT(repair.explained, SolveBias(p.moments).explained);
  }
}

TEST(Repairs, HaveNames) {
  for (const Repair repair : {Repair::kNone, Repair::kBias, Repair::kScales, Repair::kLeastSquares})
    EXPECT_EQ(ParseRepair(RepairName(repair)), repair);
  ExpectError(ExitCode::kUsage, {"--repair", "least-squares", "scale"},
              [] { ParseRepair("scale"); });
}

// The ridge that explains most of other rows, and none at all where nothing can be learnt.
TEST(ByHeldOut, ChoosesTheRidgeOnOtherRows) {
  const Fit few(40, 30, 4, 21), many(400, 30, 4, 21);
  Random random(22);
  const at::Tensor truth = RandomTensor({30, 4}, &random) * 0.3;
  const auto moments = [&](const Fit& fit, int64_t begin, int64_t end) {
    const at::Tensor x = fit.x.slice(0, begin, end);
    return MomentsOf(x, at::mm(x, truth) + RandomTensor({end - begin, 4}, &random) * 2);
  };
  const Moments fitted = moments(few, 0, 40), held_out = moments(many, 100, 400);
  const RepairResult best = SolveByHeldOut({fitted, held_out}, 1e-2, true);
  EXPECT_GT(best.damping, 1e-2);
  EXPECT_GE(Explained(held_out, best), Explained(held_out, SolveLeastSquares(fitted, 1e-2, true)));
  const Moments noise = MomentsOf(few.x, RandomTensor({40, 4}, &random));
  const Moments other = MomentsOf(many.x, RandomTensor({400, 4}, &random));
  const RepairResult none = SolveByHeldOut({noise, other}, 1e-4, true);
  EXPECT_GE(Explained(other, none), 0);
  EXPECT_LT(none.weight_change.abs().max().item<double>(), 0.2);
}

// With many outputs ridges are compared on combinations of them: what is chosen explains about as
// much as the best of the same steps.
TEST(ByHeldOut, ChoosesAmongManyOutputsOnCombinations) {
  constexpr double kStart = 1e-2;
  constexpr int64_t kInputs = 60, kOutputs = 400;
  for (const double noise : {0.5, 5.0, 20.0}) {
    SCOPED_TRACE(noise);
    const Fit few(90, kInputs, kOutputs, 31), many(300, kInputs, kOutputs, 32);
    Random random(33);
    const at::Tensor truth = RandomTensor({kInputs, kOutputs}, &random) * 0.3;
    const auto moments = [&](const Fit& fit) {
      return MomentsOf(
          fit.x, at::mm(fit.x, truth) + RandomTensor({fit.x.size(0), kOutputs}, &random) * noise);
    };
    const Moments fitted = moments(few), held_out = moments(many);
    double most = 0;
    for (int step = -4; step <= 8; ++step) {
      const RepairResult one = SolveLeastSquares(fitted, kStart * std::pow(10.0, step / 2.0), true);
      most = std::max(most, Explained(held_out, one));
    }
    const RepairResult best = SolveByHeldOut({fitted, held_out}, kStart, true);
    EXPECT_GE(best.held_out, 0.97 * most);
    EXPECT_NEAR(best.held_out, Explained(held_out, best), 1e-9);
    EXPECT_NEAR(best.explained, Explained(fitted, best), 1e-9);
  }
}

// Ridges are compared in float32: a channel of a million times the others' energy does not mislead.
TEST(ByHeldOut, ComparesRidgesOfExtremeEnergies) {
  constexpr double kStart = 1e-2;
  const Fit few(300, 40, 8, 41), many(300, 40, 8, 42);
  Random random(43);
  const at::Tensor truth = RandomTensor({40, 8}, &random);
  const auto moments = [&](const Fit& fit) {
    at::Tensor x = fit.x.clone();
    x.select(1, 3).mul_(1000);
    return MomentsOf(x, at::mm(fit.x, truth) + RandomTensor({300, 8}, &random));
  };
  const SplitMoments both = {moments(few), moments(many)};
  double most = 0;
  for (int step = -3; step <= 8; ++step) {
    const double ridge = kStart * std::pow(10.0, step / 2.0);
    most = std::max(most, Explained(both.held_out, SolveLeastSquares(both.fitted, ridge, true)));
  }
  EXPECT_GE(SolveByHeldOut(both, kStart, true).held_out, most - 1e-4);
}

// A rival residual is fitted to where that explains more of the first one on held-out rows.
TEST(ByHeldOut, TakesTheRivalThatExplainsMore) {
  const Fit few(60, 30, 300, 51), many(400, 30, 300, 52);
  Random random(53);
  const at::Tensor truth = RandomTensor({30, 300}, &random) * 0.3;
  const at::Tensor clean = at::mm(few.x, truth);
  const at::Tensor noisy = clean + RandomTensor({60, 300}, &random) * 5;
  const Moments held_out = MomentsOf(many.x, at::mm(many.x, truth));
  const auto with = [&](const at::Tensor& first, const at::Tensor& rival) {
    MomentSum sum;
    sum.AddResidual(few.x, rival);
    return SplitMoments{MomentsOf(few.x, first), held_out, sum.Take()};
  };
  const RepairResult clean_wins = SolveByHeldOut(with(noisy, clean), 0.03, true);
  EXPECT_TRUE(clean_wins.rival);
  EXPECT_GT(clean_wins.held_out, 0.9);
  EXPECT_NEAR(clean_wins.held_out, Explained(held_out, clean_wins), 1e-9);
  EXPECT_NEAR(clean_wins.explained, Explained(MomentsOf(few.x, noisy), clean_wins), 1e-9);
  EXPECT_FALSE(SolveByHeldOut(with(clean, noisy), 0.03, true).rival);
}

}  // namespace
}  // namespace coppice
