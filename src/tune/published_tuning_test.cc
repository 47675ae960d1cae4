// LSMR against the closed form of the system it solves, and the published scales built on it.
#include "tune/published_tuning.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/model_testing.h"
#include "tune/lsmr.h"

namespace coppice {
namespace {

at::Tensor Random64(at::IntArrayRef shape, Random* random) {
  return RandomTensor(shape, random).to(at::kDouble);
}

// argmin |A x - b|^2 + damp^2 |x|^2.
at::Tensor ClosedForm(const at::Tensor& a, const at::Tensor& b, double damp) {
  const at::Tensor normal = at::mm(a.t(), a) + damp * damp * at::eye(a.size(1), a.options());
  return at::linalg_solve(normal, at::mv(a.t(), b));
}

constexpr LsmrOptions kTight = {
    .atol = 1e-15, .btol = 1e-15, .conlim = 1e14, .max_iterations = 200};

TEST(Lsmr, SolvesDampedLeastSquares) {
  Random random(1);
  for (const auto& [rows, columns] : {std::pair{12, 12}, {30, 8}, {6, 11}}) {
    const at::Tensor a = Random64({rows, columns}, &random);
    const at::Tensor b = Random64({rows}, &random);
    for (const double damp : {0.3, 1.0, 5.0}) {
      SCOPED_TRACE(fmt::format("{} x {} damp {}", rows, columns, damp));
      LsmrOptions options = kTight;
      options.damp = damp;
      const LsmrResult result = SolveLsmr(a, b, options);
      EXPECT_LT(MaxDifference(result.x, ClosedForm(a, b, damp)), 1e-8);
      EXPECT_GE(result.stop, 1);
      EXPECT_NE(result.stop, 7);
      EXPECT_GT(result.iterations, 1);
    }
  }
}

TEST(Lsmr, StopCodesSayWhy) {
  Random random(2);
  const at::Tensor a = Random64({20, 6}, &random);
  const at::Tensor consistent = at::mv(a, Random64({6}, &random));
  const at::Tensor b = Random64({20}, &random);
  EXPECT_EQ(SolveLsmr(a, at::zeros_like(b), {}).stop, 0);
  EXPECT_EQ(SolveLsmr(a, consistent, {.max_iterations = 100}).stop, 1);
  EXPECT_EQ(SolveLsmr(a, b, {.max_iterations = 100}).stop, 2);
  EXPECT_EQ(SolveLsmr(a, b, {.conlim = 1.01, .max_iterations = 100}).stop, 3);
  const LsmrResult cut = SolveLsmr(a, b, {.max_iterations = 2});
  EXPECT_EQ(cut.stop, 7);
  EXPECT_EQ(cut.iterations, 2);
  EXPECT_EQ(SolveLsmr(at::zeros({4, 3}, at::kDouble), at::ones({4}, at::kDouble), {}).stop, 0);
}

// The published procedure lives by where LSMR stops before convergence. Rows: what SciPy's lsmr
// does with Hilbert's matrix times `scale` and right sides 1, 2, ..., n. The last digits follow
// rounding.
TEST(Lsmr, StopsWhereTheReferenceStops) {
  struct Row {
    int64_t n;
    double scale, damp, conlim;
    int stop;
    int64_t iterations;
    double first, last;
  };
  for (const Row& row : {Row{8, 1e3, 1, 1e8, 2, 7, -0.0460928830573, 0.627168938681},
                         Row{8, 1e3, 0, 1e8, 2, 7, 0.153671294054, 6.49973651781},
                         Row{12, 1e4, 1, 1e8, 2, 10, 0.014186609516, 0.38624433851},
                         Row{8, 1e3, 0, 1e2, 3, 4, -0.0887170502284, 0.851934976298},
                         Row{12, 1e6, 1, 1e8, 1, 10, -0.000297341250518, 0.0259101884024}}) {
    SCOPED_TRACE(fmt::format("{} {} {} {}", row.n, row.scale, row.damp, row.conlim));
    const at::Tensor index = at::arange(row.n, at::kDouble);
    const at::Tensor hilbert = row.scale / (index.unsqueeze(0) + index.unsqueeze(1) + 1);
    const LsmrResult result =
        SolveLsmr(hilbert, index + 1, {.damp = row.damp, .conlim = row.conlim});
    EXPECT_EQ(result.stop, row.stop);
    EXPECT_NEAR(static_cast<double>(result.iterations), static_cast<double>(row.iterations), 1);
    EXPECT_NEAR(result.x[0].item<double>(), row.first, 5e-3 * std::abs(row.first));
    EXPECT_NEAR(result.x[-1].item<double>(), row.last, 5e-3 * std::abs(row.last));
  }
}

struct Fit {
  Fit(int64_t tokens, int64_t inputs, double noise, uint64_t seed) {
    Random random(seed);
    x = RandomTensor({tokens, inputs}, &random);
    weight = Random64({inputs, 6}, &random);
    residual = RandomTensor({tokens, 6}, &random) * noise;
    moments = MomentsOf(x, residual);
  }
  at::Tensor x, weight, residual;
  Moments moments;
};

// The system of the published procedure, token by token: a column a unit, of what it adds to the
// output; for heads a column of ones, whose coefficient is dropped. Unknowns start at 1.
at::Tensor ByHand(const Fit& fit, int64_t width, bool intercept) {
  const at::Tensor x = fit.x.to(at::kDouble);
  std::vector<at::Tensor> columns;
  for (int64_t begin = 0; begin < x.size(1); begin += width) {
    columns.push_back(
        at::mm(x.slice(1, begin, begin + width), fit.weight.slice(0, begin, begin + width))
            .flatten());
  }
  const auto units = static_cast<int64_t>(columns.size());
  if (intercept) columns.push_back(at::ones_like(columns[0]));
  const at::Tensor a = at::stack(columns, 1);
  const at::Tensor target =
      fit.residual.to(at::kDouble).flatten() + a.slice(1, 0, units).sum(1);  // wanted output
  const at::Tensor normal = at::mm(a.t(), a);
  const at::Tensor ones = at::ones({a.size(1)}, a.options());
  const at::Tensor right = at::mv(a.t(), target) - at::mv(normal, ones);
  return (ClosedForm(normal, right, 1) + 1).slice(0, 0, units);
}

TEST(PublishedScales, SolveThePublishedSystem) {
  const Fit fit(400, 12, 0.3, 3);
  for (const int64_t width : {1, 3}) {
    const UnitKind kind = width == 1 ? UnitKind::kChannel : UnitKind::kHead;
    SCOPED_TRACE(UnitName(kind));
    const PublishedScales found = SolvePublishedScales(fit.moments, fit.weight, kind, width);
    EXPECT_TRUE(found.accepted) << found.reason;
    const at::Tensor expected = ByHand(fit, width, kind == UnitKind::kHead);
    EXPECT_GT((expected - 1).abs().max().item<double>(), 3e-3);
    // LSMR stops early by design.
    EXPECT_LT(MaxDifference(found.scales, expected), 1e-4);
  }
}

TEST(PublishedScales, AreRefusedWithAReason) {
  const auto refused = [](const Fit& fit, UnitKind kind, int64_t width, const std::string& why) {
    const PublishedScales found = SolvePublishedScales(fit.moments, fit.weight, kind, width);
    EXPECT_FALSE(found.accepted);
    EXPECT_NE(found.reason.find(why), std::string::npos) << found.reason;
  };
  refused(Fit(50, 1, 1, 4), UnitKind::kChannel, 1, "one unit");
  refused(Fit(50, 0, 1, 4), UnitKind::kChannel, 1, "no unit");
  Fit huge(50, 4, 1, 5);
  huge.moments.cross.mul_(1000);
  refused(huge, UnitKind::kChannel, 1, "exceed 10");
}

// One head has the intercept beside it, so the solver gets a system it can take.
TEST(PublishedScales, OneHeadIsSolved) {
  const Fit fit(400, 3, 0.3, 7);
  const PublishedScales found = SolvePublishedScales(fit.moments, fit.weight, UnitKind::kHead, 3);
  EXPECT_TRUE(found.accepted) << found.reason;
  EXPECT_EQ(found.scales.size(0), 1);
}

}  // namespace
}  // namespace coppice
