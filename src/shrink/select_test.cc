// Against index_select().
#include "shrink/select.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/device.h"

namespace coppice {
namespace {

TEST(Select, IsThatOfLibTorch) {
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> all = {{}, {3}, {0, 1, 2, 6, 7, 9}, {9, 8, 0, 0, 1}};
  for (const int threads : {1, 3}) {
    UseThreads(threads);
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat, at::kByte}) {
      const at::Tensor vector = at::randint(100, {10}).to(dtype);
      const at::Tensor matrix = at::randint(100, {10, 10}).to(dtype);
      const at::Tensor large = at::randint(100, {10, 70000}).to(dtype).t();  // not contiguous
      for (const std::vector<int64_t>& positions : all) {
        const at::Tensor index = at::tensor(positions, at::kLong);
        EXPECT_TRUE(Select(vector, 0, positions).equal(vector.index_select(0, index)));
        for (const int64_t axis : {0, 1}) {
          EXPECT_TRUE(Select(matrix, axis, positions).equal(matrix.index_select(axis, index)));
          EXPECT_TRUE(Select(large, axis, positions).equal(large.index_select(axis, index)));
        }
      }
    }
  }
  UseThreads(1);
}

}  // namespace
}  // namespace coppice
