#include "calibrate/residual_stream.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(ResidualStream, HoldsTheSameOnDiskAsInMemory) {
  const at::Tensor first = at::randn({2, 5, 7});
  const at::Tensor second = at::randn({2, 5, 7});
  for (const bool on_disk : {false, true}) {
    ResidualStream stream(first, on_disk);
    EXPECT_TRUE(at::equal(stream.Get(), first));
    stream.Set(second);
    EXPECT_TRUE(at::equal(stream.Get(), second));
  }
}

TEST(ResidualStream, OnDiskDoesNotShareMemoryWithWhatItWasGiven) {
  const at::Tensor hidden = at::zeros({1, 2, 3});
  ResidualStream stream(hidden, /*on_disk=*/true);
  hidden.fill_(1);
  EXPECT_EQ(stream.Get().sum().item<double>(), 0);
}

}  // namespace
}  // namespace coppice
