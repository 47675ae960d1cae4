#include "model/gram.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <utility>

#include "model/tile_products.h"

namespace coppice {
namespace {

at::Tensor RandomRows(int64_t rows, int64_t columns) {
  at::manual_seed(static_cast<uint64_t>(rows * 1000 + columns));
  return at::randn({rows, columns});
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

at::Tensor Exact(const at::Tensor& left, const at::Tensor& right) {
  return at::mm(left.to(at::kDouble).t(), right.to(at::kDouble));
}

// Rows in parts that are no multiples of what is multiplied at once, and columns likewise.
TEST(ProductSum, OfBothDtypesIsTheGramMatrix) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& [rows, columns] :
         {std::pair<int64_t, int64_t>{5, 3}, {1500, 64}, {9000, 130}, {6000, 260}}) {
      SCOPED_TRACE(columns);
      const at::Tensor x = RandomRows(rows, columns).to(dtype);
      ProductSum sum;
      for (int64_t begin = 0; begin < rows; begin += 700) {
        const at::Tensor part = x.slice(0, begin, begin + 700);
        sum.Add(part, part);
      }
      const at::Tensor total = sum.Total();
      EXPECT_EQ(total.scalar_type(), at::kDouble);
      EXPECT_LT(MaxDifference(total, Exact(x, x)), 3e-6 * static_cast<double>(rows));
      EXPECT_EQ(MaxDifference(total, total.t()), 0);
      EXPECT_LT(MaxDifference(sum.Take(), total), 1e-6 * static_cast<double>(rows));
    }
  }
}

// One sixteenth of a bfloat16 number's last digit would show.
TEST(ProductSum, OfTwoSidesKeepsTheDigitsOfBoth) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t columns : {7, 64, 200}) {
      const at::Tensor x = RandomRows(3000, columns).to(dtype);
      const at::Tensor y = RandomRows(3000, 90).to(dtype);
      ProductSum sum;
      sum.Add(x.slice(0, 0, 1900), y.slice(0, 0, 1900));
      sum.Add(x.slice(0, 1900), y.slice(0, 1900));
      EXPECT_LT(MaxDifference(sum.Take(), Exact(x, y)), 3e-3);
    }
  }
}

TEST(ProductSum, OfNothingIsUndefinedOrEmpty) {
  ProductSum none;
  EXPECT_FALSE(none.Total().defined());
  EXPECT_FALSE(none.Take().defined());
  const at::Tensor x = at::empty({4, 0}, at::kBFloat16);
  ProductSum empty;
  empty.Add(x, x);
  EXPECT_EQ(empty.Take().numel(), 0);
}

TEST(TileProducts, AddWhatIsAskedFor) {
  if (!HasTileProducts()) GTEST_SKIP() << "this processor does not multiply bfloat16";
  const at::Tensor x = RandomRows(kTileRows, 70).to(at::kBFloat16);
  const at::Tensor y = RandomRows(kTileRows, 65).to(at::kBFloat16);
  at::Tensor tiles = ZeroTiles(70, 65);
  at::Tensor total = at::ones({70, 65}, at::kDouble);
  for (int i = 0; i < 2; ++i) AddTileProduct(x, y, &tiles);
  AddTiles(tiles, &total);
  EXPECT_LT(MaxDifference(total, 2 * Exact(x, y) + 1), 2e-3);
}

}  // namespace
}  // namespace coppice
