#include "calibrate/residual_stream.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(ResidualStream, HoldsTheSameOnDiskAsInMemory) {
  const at::Tensor first = at::randn({2, 5, 7});
  const at::Tensor second = at::randn({2, 5, 7});
  for (const Place place : {Place::kDevice, Place::kMemory, Place::kFile}) {
    ResidualStream stream(first, place);
    EXPECT_TRUE(at::equal(stream.Get(), first));
    stream.Set(second);
    EXPECT_TRUE(at::equal(stream.Get(), second));
  }
}

TEST(ResidualStream, OnDiskDoesNotShareMemoryWithWhatItWasGiven) {
  const at::Tensor hidden = at::zeros({1, 2, 3});
  ResidualStream stream(hidden, Place::kFile);
  hidden.fill_(1);
  EXPECT_EQ(stream.Get().sum().item<double>(), 0);
}

TEST(ResidualStream, KeepsTheDtypeThatItWasGiven) {
  const at::Tensor hidden = at::randn({1, 4, 8}).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(ResidualStream(hidden, Place::kFile).Get(), hidden));
}

TEST(ResidualStream, GoesToDiskWhereMemoryHasNoRoom) {
  Compute compute;
  EXPECT_EQ(PlaceFor(compute, int64_t{1} << 50), Place::kDevice);
  compute.memory = 1000;
  EXPECT_EQ(PlaceFor(compute, 1000), Place::kDevice);
  EXPECT_EQ(PlaceFor(compute, 1001), Place::kFile);
}

}  // namespace
}  // namespace coppice
