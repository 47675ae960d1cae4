#include "model/row_sums.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

void ExpectThatOfFloat64(at::Device device) {
  at::manual_seed(0);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t columns : {1, 255, 600}) {
      const at::Tensor x = at::randn({700, columns}).to(device, dtype);
      const at::Tensor expected = x.to(at::kDouble).sum(0);
      const at::Tensor found = SumOfRows(x);
      EXPECT_EQ(found.scalar_type(), at::kDouble);
      EXPECT_LT((found - expected).abs().max().item<double>(), 1e-11);
      EXPECT_LT((SumOfRows(x.t().contiguous().t()) - expected).abs().max().item<double>(), 1e-11);
      at::Tensor energy;
      EXPECT_TRUE(SumOfRows(x, &energy).equal(found));
      const auto squares = x.to(at::kDouble).square().sum().item<double>();
      EXPECT_NEAR(energy.item<double>(), squares,
                  squares * (dtype == at::kBFloat16 ? 1e-3 : 1e-7));  // squares are rounded
    }
  }
}

TEST(SumOfRows, IsThatOfFloat64) {
  ExpectThatOfFloat64(at::kCPU);
  EXPECT_EQ(SumOfRows(at::empty({5, 0})).numel(), 0);
  EXPECT_EQ(SumOfRows(at::empty({0, 5})).sum().item<double>(), 0);
}

TEST(CudaSumOfRows, IsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  ExpectThatOfFloat64({at::kCUDA, 0});
}

}  // namespace
}  // namespace coppice
