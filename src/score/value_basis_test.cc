// The eigen-decomposition against its definition: values cut to their first k directions and
// refitted lose what the singular values beyond k say, and no other k directions lose less.
#include "score/value_basis.h"

#include <gtest/gtest.h>

#include "model/model_testing.h"
#include "score/value_levels.h"

namespace coppice {
namespace {

// Correlated inputs of `units` units of R heads of width F, with a metric that is far from round.
struct Problem {
  Problem(int64_t unit_count, int64_t query_heads, int64_t head_width, uint64_t seed)
      : units(unit_count), queries(query_heads), width(head_width) {
    Random random(seed);
    const int64_t inputs = units * queries * width, outputs = 7;
    x = at::mm(RandomTensor({500, inputs}, &random), RandomTensor({inputs, inputs}, &random)) + 0.5;
    weight = RandomTensor({inputs, outputs}, &random);
    g = at::mm(RandomTensor({500, outputs}, &random), RandomTensor({outputs, outputs}, &random));
    curvature.positions = 50;
    curvature.Add(x, g);
    gram = at::mm(Centred().t(), Centred());
    metric = at::mm(g.to(at::kDouble).t(), g.to(at::kDouble)) / 500;
    basis = MakeValueBasis(curvature, weight, units, {.queries = queries});
  }
  at::Tensor Centred() const { return x.to(at::kDouble) - x.to(at::kDouble).mean(0, true); }
  // tr(G E'A E) of the best output of the kept directions alone; columns of `kept`: (I, k).
  double LossOf(const at::Tensor& kept, double damping = 0) const {
    at::Tensor a = gram.clone();
    a.diagonal().add_(damping * a.diagonal().mean());
    const at::Tensor w = weight.to(at::kDouble);
    const at::Tensor fit =
        at::linalg_solve(at::mm(kept.t(), at::mm(a, kept)), at::mm(kept.t(), at::mm(a, w)));
    const at::Tensor error = w - at::mm(kept, fit);
    return at::mm(metric, at::mm(error.t(), at::mm(a, error))).trace().item<double>();
  }
  // The first k directions of every head of these units: (I, heads * k).
  at::Tensor Directions(const std::vector<int64_t>& of_units, int64_t k) const {
    std::vector<at::Tensor> columns;
    for (const int64_t unit : of_units) {
      for (int64_t q = 0; q < queries; ++q) {
        at::Tensor column = at::zeros({weight.size(0), k}, at::kDouble);
        const int64_t begin = (unit * queries + q) * width;
        column.slice(0, begin, begin + width).copy_(basis[unit].slice(1, 0, k));
        columns.push_back(column);
      }
    }
    return at::cat(columns, 1);
  }
  int64_t units, queries, width;
  at::Tensor x, weight, g, gram, metric, basis;
  Curvature curvature;
};

TEST(ValueBasis, IsOrthogonal) {
  const Problem p(3, 2, 5, 1);
  ASSERT_EQ(p.basis.sizes(), (at::IntArrayRef{3, 5, 5}));
  const at::Tensor product = at::bmm(p.basis.transpose(1, 2), p.basis);
  EXPECT_LT(MaxDifference(product, at::eye(5, at::kDouble).expand({3, 5, 5})), 1e-10);
}

TEST(ValueBasis, OfOneHeadLosesTheSingularValuesBeyondTheRank) {
  const Problem p(1, 1, 6, 2);
  const auto [values, vectors] = at::linalg_eigh(p.gram);
  const at::Tensor root = at::mm(vectors * values.sqrt(), vectors.t());
  const auto [g_values, g_vectors] = at::linalg_eigh(p.metric);
  const at::Tensor g_root = at::mm(g_vectors * g_values.sqrt(), g_vectors.t());
  const at::Tensor lost = at::mm(root, at::mm(p.weight.to(at::kDouble), g_root));
  const at::Tensor singular = at::linalg_svdvals(lost);  // (6), descending
  Random random(3);
  for (int64_t k = 1; k < 6; ++k) {
    const double expected = singular.slice(0, k).square().sum().item<double>();
    EXPECT_NEAR(p.LossOf(p.Directions({0}, k)), expected,
                1e-6 * lost.square().sum().item<double>());
    const at::Tensor other = RandomTensor({6, k}, &random).to(at::kDouble);
    EXPECT_GT(p.LossOf(other), expected);
  }
}

// The new outputs are those of the decomposition written out: W = S_k V_k' of the values A^-1/2
// U_k.
TEST(ValueBasis, SpansTheDecompositionsSpaces) {
  const Problem p(1, 1, 6, 4);
  const auto [values, vectors] = at::linalg_eigh(p.gram);
  const at::Tensor root = at::mm(vectors * values.sqrt(), vectors.t());
  const at::Tensor inverse = at::mm(vectors / values.sqrt(), vectors.t());
  const auto [g_values, g_vectors] = at::linalg_eigh(p.metric);
  const at::Tensor g_root = at::mm(g_vectors * g_values.sqrt(), g_vectors.t());
  const at::Tensor weight = p.weight.to(at::kDouble);
  const auto [u, s, v] = at::linalg_svd(at::mm(root, at::mm(weight, g_root)), false);
  const int64_t k = 3;
  const at::Tensor narrow = at::mm(inverse, u.slice(1, 0, k));  // (F, k)
  const at::Tensor by_svd =
      at::mm(narrow, at::mm(at::diag(s.slice(0, 0, k)), v.slice(0, 0, k)));  // (F, D)
  const at::Tensor kept = p.Directions({0}, k);                              // (F, k)
  const at::Tensor fit = at::linalg_solve(at::mm(kept.t(), at::mm(p.gram, kept)),
                                          at::mm(kept.t(), at::mm(p.gram, weight)));
  EXPECT_LT(MaxDifference(at::mm(at::mm(kept, fit), g_root), by_svd), 1e-5);
}

TEST(ValueLevels, CostWhatTheirRefitsCost) {
  for (const int64_t queries : {1, 2}) {
    const Problem p(4, queries, 4, 5);
    ObsOptions options;
    options.damping = 1e-2;
    options.own_damping = 1e-9;
    const ObsCurve curve = MakeObsCurve(p.curvature, p.weight, 4 * queries, options);
    const std::vector<ValueLevel> levels =
        MakeValueLevels(p.curvature, p.weight, curve, p.basis, options);
    ASSERT_EQ(levels.size(), 4u * 3u);
    for (const ValueLevel& level : levels) {
      EXPECT_LT(level.values, 4);
      const double expected =
          p.LossOf(p.Directions(KeptUnits(curve, level.count), level.values), options.damping) / 2 /
          50;
      EXPECT_NEAR(level.loss, expected, 1e-5 * curve.losses.front());
      EXPECT_GT(level.loss, LossAt(curve, level.count));
    }
  }
}

}  // namespace
}  // namespace coppice
