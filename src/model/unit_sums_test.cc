// Against the same in float64.
#include "model/unit_sums.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/device.h"
#include "model/kernel_testing.h"

namespace coppice {
namespace {

struct Case {
  int64_t texts, tokens, units, width, row_tokens;
};

// x, by_x: float64.
at::Tensor Expected(const Case& one, const at::Tensor& x, const at::Tensor& by_x) {
  std::vector<at::Tensor> rows;
  for (int64_t first = 0; first < one.tokens; first += one.row_tokens) {
    const at::Tensor product = (x * by_x).slice(1, first, first + one.row_tokens);
    rows.push_back(product.reshape({one.texts, product.size(1), one.units, one.width}).sum({1, 3}));
  }
  return at::stack(rows, 1);
}

TEST(CudaUnitSums, AreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const Case& one : {Case{1, 1, 8, 1, 1},
                          {3, 7, 5, 16, 7},
                          {1, 70, 32, 1, 64},
                          {4, 130, 2, 64, 64},
                          {2, 100, 8, 1, 45},
                          {2, 512, 1536, 1, 512},
                          {2, 9, 3, 17, 9}}) {  // the kernel takes no 51 columns
    SCOPED_TRACE(fmt::format("{} units of {}", one.units, one.width));
    Random random(2);
    const std::vector<int64_t> shape = {one.texts, one.tokens, one.units * one.width};
    const at::Tensor x = RandomBfloat16(shape, &random), by_x = RandomBfloat16(shape, &random);
    const at::Tensor found = SumsOfProducts(x, by_x, one.units, one.row_tokens);
    const at::Tensor expected = Expected(one, x.to(at::kDouble), by_x.to(at::kDouble));
    EXPECT_LT(ErrorOf(found, expected), shape[2] % 8 == 0 ? 1e-6 : 4e-3);
  }
}

class UnitSums : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseThreads(GetParam()); }
  void TearDown() override { UseThreads(1); }
};

TEST_P(UnitSums, AreThoseOfFloat64) {
  for (const Case& one : {Case{1, 1, 1, 1, 1},
                          {3, 7, 5, 1, 7},
                          {2, 9, 3, 17, 9},
                          {1, 70, 33, 1, 64},
                          {4, 130, 2, 64, 64},
                          {2, 25, 768, 1, 25}}) {
    SCOPED_TRACE(fmt::format("{} units of {}", one.units, one.width));
    Random random(2);
    const std::vector<int64_t> shape = {one.texts, one.tokens, one.units * one.width};
    const at::Tensor x = RandomTensor(shape, &random).to(at::kBFloat16);
    const at::Tensor by_x = RandomTensor(shape, &random).to(at::kBFloat16);
    const at::Tensor expected = Expected(one, x.to(at::kDouble), by_x.to(at::kDouble));
    const at::Tensor found = SumsOfProducts(x, by_x, one.units, one.row_tokens);
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    EXPECT_LT(ErrorOf(found, expected), 1e-6);
    const at::Tensor cut = at::cat({x, x}, 2).slice(2, 0, shape[2]);  // rows with gaps
    EXPECT_TRUE(SumsOfProducts(cut, by_x, one.units, one.row_tokens).equal(found));
    const at::Tensor in_float =
        SumsOfProducts(x.to(at::kFloat), by_x.to(at::kFloat), one.units, one.row_tokens);
    EXPECT_LT(ErrorOf(in_float, expected), 1e-6);
    UseThreads(1);
    EXPECT_TRUE(SumsOfProducts(x, by_x, one.units, one.row_tokens).equal(found));
    UseThreads(GetParam());
  }
}

// What is no number stays in its unit's sum over its stretch.
TEST_P(UnitSums, KeepNoNumbersApart) {
  const at::Tensor x = at::ones({1, 4, 6}, at::kBFloat16);
  x[0][2][3] = NAN;
  const at::Tensor sums = SumsOfProducts(x, at::ones_like(x), 3, 2);
  const at::Tensor bad = sums.isnan();
  EXPECT_EQ(bad.sum().item<int64_t>(), 1);
  EXPECT_TRUE(bad[0][1][1].item<bool>());
  EXPECT_TRUE(sums.masked_select(bad.logical_not()).eq(4).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Threads, UnitSums, testing::Values(1, 3));

}  // namespace
}  // namespace coppice
