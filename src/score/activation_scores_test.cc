// Activation scores against their formulas written out, number by number, from inputs and weights;
// the numerical score also against Newton's method on the objective of its paper.
#include "score/activation_scores.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/model_testing.h"

namespace coppice {
namespace {

// Inputs X (M, I) that are correlated and have means, as hidden states do, and weights W (I, D).
struct Problem {
  Problem(int64_t tokens, int64_t inputs, int64_t width, uint64_t seed) {
    Random random(seed);
    const at::Tensor mixing =
        at::eye(inputs, at::kFloat) + 0.3 * RandomTensor({inputs, inputs}, &random);
    x = (at::mm(RandomTensor({tokens, inputs}, &random), mixing) + RandomTensor({inputs}, &random))
            .to(at::kDouble);
    w = RandomTensor({inputs, width}, &random);
  }
  UnitStatistics Statistics() const {
    UnitStatistics statistics;
    statistics.tokens = x.size(0);
    statistics.gram = at::mm(x.t(), x);
    statistics.squares = statistics.gram.diagonal();
    statistics.sum = x.sum(0);
    return statistics;
  }
  int64_t inputs() const { return x.size(1); }
  // 1/2 sum_i ||X W_i - X (z o W_i)||^2 + lambda/2 (1'z - r)^2
  double Objective(const at::Tensor& z, double removed, double lambda) const {
    const at::Tensor rest = (1 - z).unsqueeze(1) * w.to(at::kDouble);
    const double excess = z.sum().item<double>() - (1 - removed) * static_cast<double>(inputs());
    return at::mm(x, rest).square().sum().item<double>() / 2 + lambda / 2 * excess * excess;
  }
  // sum_i W_ji W_ki X_j'X_k, in plain loops.
  at::Tensor Q() const {
    at::Tensor q = at::zeros({inputs(), inputs()}, at::kDouble);
    const at::Tensor exact = w.to(at::kDouble);
    for (int64_t j = 0; j < inputs(); ++j) {
      for (int64_t k = 0; k < inputs(); ++k)
        q[j][k] = at::dot(exact[j], exact[k]) * at::dot(x.select(1, j), x.select(1, k));
    }
    return q;
  }
  at::Tensor x;  // float64
  at::Tensor w;  // float32
};

at::Tensor RandomStart(int64_t inputs, uint64_t seed) {
  Random random(seed);
  std::vector<double> start;
  for (int64_t i = 0; i < inputs; ++i) start.push_back(random.Uniform());
  return at::tensor(start, at::kDouble);
}

// The paper's iteration: H = Q + lambda 11', g = Q (z - 1) + lambda (1'z - r) 1.
at::Tensor Newton(const Problem& problem, at::Tensor z, double removed, double lambda, int steps) {
  const at::Tensor q = problem.Q();
  const at::Tensor hessian = q + lambda;
  const double r = (1 - removed) * static_cast<double>(problem.inputs());
  for (int step = 0; step < steps; ++step) {
    const at::Tensor gradient = at::mv(q, z - 1) + lambda * (z.sum() - r);
    z = z - at::linalg_solve(hessian, gradient);
  }
  return z;
}

double RelativeDifference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

TEST(NumericalScores, AreNewtonsLimitAndItsFirstStep) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Problem problem(300, 24, 16, seed);
    for (const double removed : {0.1, 0.5}) {
      for (const double lambda : {0.01, 1.0, 1e4}) {
        SCOPED_TRACE(fmt::format("seed {} removed {} lambda {}", seed, removed, lambda));
        const at::Tensor found =
            NumericalScores(problem.Statistics(), problem.w, 1, removed, lambda);
        const at::Tensor start = RandomStart(24, seed + 100);
        EXPECT_LT(RelativeDifference(Newton(problem, start, removed, lambda, 50), found), 1e-8);
        EXPECT_LT(RelativeDifference(Newton(problem, start, removed, lambda, 1), found), 1e-8);
      }
    }
  }
}

// Of the objective itself, from inputs and weights alone.
TEST(NumericalScores, MinimiseTheObjective) {
  const Problem problem(200, 12, 8, 7);
  const double lambda = 3;
  const at::Tensor found = NumericalScores(problem.Statistics(), problem.w, 1, 0.3, lambda);
  const double least = problem.Objective(found, 0.3, lambda);
  for (int64_t i = 0; i < 12; ++i) {
    for (const double step : {-1e-3, 1e-3}) {
      at::Tensor moved = found.clone();
      moved[i] += step;
      EXPECT_GT(problem.Objective(moved, 0.3, lambda), least);
    }
  }
  EXPECT_GT(problem.Objective(at::ones({12}, at::kDouble), 0.3, lambda), least);
}

TEST(NumericalScores, WithoutLambdaHoldTheSumAndAreTheLimitOfLargeOnes) {
  const Problem problem(300, 24, 16, 11);
  for (const double removed : {0.0, 0.2, 0.7, 1.0}) {
    const at::Tensor found =
        NumericalScores(problem.Statistics(), problem.w, 1, removed, std::nullopt);
    EXPECT_NEAR(found.sum().item<double>(), (1 - removed) * 24, 1e-9);
    double before = INFINITY;
    for (const double lambda : {1e-2, 1e0, 1e2, 1e4, 1e11}) {
      const double gap = MaxDifference(
          NumericalScores(problem.Statistics(), problem.w, 1, removed, lambda), found);
      EXPECT_LE(gap, before);
      before = gap;
    }
    EXPECT_LT(before, 1e-6);
  }
}

// q orders the units, whatever lambda and the share.
TEST(NumericalScores, OrderDependsOnTheDataAlone) {
  const Problem problem(300, 24, 16, 12);
  const UnitStatistics statistics = problem.Statistics();
  const at::Tensor order = NumericalScores(statistics, problem.w, 1, 0.2, std::nullopt).argsort();
  EXPECT_TRUE(
      at::equal(NumericalScores(statistics, problem.w, 1, 0.7, std::nullopt).argsort(), order));
  EXPECT_TRUE(at::equal(NumericalScores(statistics, problem.w, 1, 0.4, 0.5).argsort(), order));
}

TEST(NumericalScores, OfAUnitAreTheMeanOverItsInputs) {
  const Problem problem(300, 24, 16, 13);
  const at::Tensor each = NumericalScores(problem.Statistics(), problem.w, 1, 0.4, std::nullopt);
  const at::Tensor units = NumericalScores(problem.Statistics(), problem.w, 6, 0.4, std::nullopt);
  EXPECT_LT(MaxDifference(units, each.view({4, 6}).mean(1)), 1e-12);
}

// Inputs that are always 0 or that nothing reads have no say; the others score as without them.
TEST(NumericalScores, LeaveDeadInputsOut) {
  Problem problem(300, 12, 16, 14);
  const at::Tensor alive = at::tensor({0, 1, 2, 4, 5, 6, 7, 8, 10, 11}, at::kLong);
  Problem without = problem;
  without.x = problem.x.index_select(1, alive);
  without.w = problem.w.index_select(0, alive);
  problem.x.select(1, 3).zero_();
  problem.w[9].zero_();
  const at::Tensor found = NumericalScores(problem.Statistics(), problem.w, 1, 0.3, std::nullopt);
  EXPECT_EQ(found[3].item<double>(), 0);
  EXPECT_EQ(found[9].item<double>(), 0);
  EXPECT_LT(MaxDifference(found.index_select(0, alive),
                          NumericalScores(without.Statistics(), without.w, 1, 0.3, std::nullopt)),
            1e-10);
}

// Fewer tokens and columns than inputs, equal inputs, none at all.
TEST(NumericalScores, AreFiniteWhereTheMatrixHasNoInverse) {
  Problem few(3, 24, 2, 15);
  Problem twins(100, 12, 4, 16);
  twins.x.select(1, 5).copy_(twins.x.select(1, 2));
  twins.w[5].copy_(twins.w[2]);
  for (const Problem& problem : {few, twins}) {
    const at::Tensor found = NumericalScores(problem.Statistics(), problem.w, 1, 0.3, std::nullopt);
    EXPECT_TRUE(found.isfinite().all().item<bool>());
    EXPECT_NEAR(found.sum().item<double>(), 0.7 * static_cast<double>(problem.inputs()), 1e-6);
  }
  Problem nothing(10, 4, 2, 17);
  nothing.x.zero_();
  EXPECT_EQ(
      NumericalScores(nothing.Statistics(), nothing.w, 2, 0.5, 1.0).abs().max().item<double>(), 0);
}

TEST(FlapScores, AreStandardisedVariancesTimesSquaredNorms) {
  const Problem problem(150, 12, 8, 21);
  for (const bool attention : {false, true}) {
    std::vector<double> raw;
    for (int64_t j = 0; j < 12; ++j) {
      double mean = 0, variance = 0, norm = 0;
      for (int64_t t = 0; t < 150; ++t) mean += problem.x[t][j].item<double>() / 150;
      for (int64_t t = 0; t < 150; ++t)
        variance += std::pow(problem.x[t][j].item<double>() - mean, 2) / 149;
      for (int64_t i = 0; i < 8; ++i) norm += std::pow(problem.w[j][i].item<double>(), 2);
      raw.push_back(attention ? std::pow(variance * norm, 2) : variance * norm);
    }
    double mean = 0, variance = 0;
    for (const double one : raw) mean += one / 12;
    for (const double one : raw) variance += std::pow(one - mean, 2) / 11;
    for (const int64_t width : {1, 3}) {
      std::vector<double> expected(static_cast<size_t>(12 / width), 0);
      for (size_t j = 0; j < raw.size(); ++j)
        expected[j / static_cast<size_t>(width)] +=
            (raw[j] - mean) / std::sqrt(variance) / static_cast<double>(width);
      EXPECT_LT(MaxDifference(FlapScores(problem.Statistics(), problem.w, width, attention),
                              at::tensor(expected, at::kDouble)),
                1e-9);
    }
  }
}

TEST(FlapScores, AreFiniteForConstantInputsAndOneUnit) {
  Problem problem(20, 4, 3, 22);
  problem.x.fill_(0.3);
  EXPECT_TRUE(FlapScores(problem.Statistics(), problem.w, 2, true).isfinite().all().item<bool>());
  const Problem one(20, 1, 3, 23);
  EXPECT_TRUE(FlapScores(one.Statistics(), one.w, 1, false).isfinite().all().item<bool>());
}

TEST(WandaScores, AreInputNormsTimesMeanWeights) {
  const Problem problem(50, 12, 8, 31);
  for (const int64_t width : {1, 4}) {
    std::vector<double> expected(static_cast<size_t>(12 / width), 0);
    for (int64_t j = 0; j < 12; ++j) {
      double squares = 0, weights = 0;
      for (int64_t t = 0; t < 50; ++t) squares += std::pow(problem.x[t][j].item<double>(), 2);
      for (int64_t i = 0; i < 8; ++i) weights += std::abs(problem.w[j][i].item<double>()) / 8;
      expected[static_cast<size_t>(j / width)] += std::sqrt(squares) * weights;
    }
    EXPECT_LT(MaxDifference(WandaScores(problem.Statistics(), problem.w, width),
                            at::tensor(expected, at::kDouble)),
              1e-9);
  }
}

TEST(MagnitudeScores, AreNormsOfAUnitsRows) {
  const Problem problem(1, 12, 8, 41);
  for (const int64_t width : {1, 4}) {
    std::vector<double> expected(static_cast<size_t>(12 / width), 0);
    for (int64_t j = 0; j < 12; ++j) {
      for (int64_t i = 0; i < 8; ++i)
        expected[static_cast<size_t>(j / width)] += std::pow(problem.w[j][i].item<double>(), 2);
    }
    for (double& one : expected) one = std::sqrt(one);
    EXPECT_LT(MaxDifference(MagnitudeScores(problem.w, width), at::tensor(expected, at::kDouble)),
              1e-9);
  }
}

TEST(ActivationScores, OfNoUnitsAreNone) {
  const Problem problem(5, 4, 3, 51);
  UnitStatistics none = problem.Statistics();
  none.gram = at::zeros({0, 0}, at::kDouble);
  none.squares = none.sum = at::zeros({0}, at::kDouble);
  const at::Tensor weight = at::zeros({0, 3});
  EXPECT_EQ(NumericalScores(none, weight, 2, 0.5, std::nullopt).numel(), 0);
  EXPECT_EQ(FlapScores(none, weight, 2, true).numel(), 0);
  EXPECT_EQ(WandaScores(none, weight, 2).numel(), 0);
  EXPECT_EQ(MagnitudeScores(weight, 2).numel(), 0);
}

}  // namespace
}  // namespace coppice
