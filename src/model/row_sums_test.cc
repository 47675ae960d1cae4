#include "model/row_sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(SumOfRows, IsThatOfFloat64) {
  at::manual_seed(0);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t columns : {1, 255, 600}) {
      const at::Tensor x = at::randn({700, columns}).to(dtype);
      const at::Tensor expected = x.to(at::kDouble).sum(0);
      const at::Tensor found = SumOfRows(x);
      EXPECT_EQ(found.scalar_type(), at::kDouble);
      EXPECT_LT((found - expected).abs().max().item<double>(), 1e-11);
      EXPECT_LT((SumOfRows(x.t().contiguous().t()) - expected).abs().max().item<double>(), 1e-11);
    }
  }
  EXPECT_EQ(SumOfRows(at::empty({5, 0})).numel(), 0);
  EXPECT_EQ(SumOfRows(at::empty({0, 5})).sum().item<double>(), 0);
}

}  // namespace
}  // namespace coppice
