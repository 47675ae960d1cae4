#include "model/cholesky.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace coppice {
namespace {

TEST(Cholesky, OfAPositiveDefiniteMatrixGivesItBack) {
  const at::Tensor x = at::arange(12, at::kDouble).view({4, 3}).cos();
  const at::Tensor matrix = at::mm(x.t(), x);
  const at::Tensor factor = CholeskyFactor(matrix);
  ASSERT_TRUE(factor.defined());
  EXPECT_LT((at::mm(factor, factor.t()) - matrix).abs().max().item<double>(), 1e-12);
}

// Larger than what one thread takes.
TEST(Cholesky, FactorsSolveAndInvert) {
  at::manual_seed(0);
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const double close = dtype == at::kDouble ? 1e-11 : 1e-3;
    const at::Tensor x = at::randn({400, 150}, dtype);
    const at::Tensor matrix = at::mm(x.t(), x) / 400, right = at::randn({150, 7}, dtype);
    const at::Tensor before = matrix.clone();
    const at::Tensor factor = CholeskyFactor(matrix);
    ASSERT_TRUE(factor.defined());
    EXPECT_TRUE(matrix.equal(before));
    EXPECT_TRUE(factor.equal(factor.tril()));
    const auto error = [](const at::Tensor& a) { return a.abs().max().item<double>(); };
    EXPECT_LT(error(at::mm(factor, factor.t()) - matrix), close);
    EXPECT_LT(error(at::mm(matrix, SolveByFactor(factor, right)) - right), close);
    EXPECT_LT(error(at::mm(matrix, SolveByFactor(factor, right.t().contiguous().t())) - right),
              close);
    const at::Tensor inverse = InverseByFactor(factor.clone());
    EXPECT_TRUE(inverse.equal(inverse.t()));
    EXPECT_LT(error(at::mm(matrix, inverse) - at::eye(150, dtype)), close);
  }
}

TEST(Cholesky, OfOthersThereIsNone) {
  EXPECT_FALSE(CholeskyFactor(-at::eye(3, at::kDouble)).defined());
  at::Tensor hole = at::eye(3, at::kDouble);
  hole[1][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(CholeskyFactor(hole).defined());
  double ridge = 1e-4;
  EXPECT_FALSE(DampedFactor(hole, &ridge).defined());
}

TEST(Cholesky, RidgesRiseUntilThereIsOne) {
  at::Tensor matrix = at::eye(3, at::kDouble);
  matrix[0][1] = matrix[1][0] = 1.05;  // least eigenvalue -0.05
  double ridge = 1e-4;
  const at::Tensor factor = DampedFactor(matrix, &ridge);
  ASSERT_TRUE(factor.defined());
  EXPECT_DOUBLE_EQ(ridge, 1e-1);
  const at::Tensor damped = matrix + 0.1 * at::eye(3, at::kDouble);
  EXPECT_LT((at::mm(factor, factor.t()) - damped).abs().max().item<double>(), 1e-12);
}

TEST(Cholesky, OfABatchAllHaveOneOrNone) {
  const at::Tensor good = at::eye(2, at::kDouble).expand({3, 2, 2}).contiguous();
  EXPECT_TRUE(CholeskyFactor(good).defined());
  at::Tensor bad = good.clone();
  bad[2][0][0] = -1;
  EXPECT_FALSE(CholeskyFactor(bad).defined());
}

}  // namespace
}  // namespace coppice
