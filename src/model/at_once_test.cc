#include "model/at_once.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "model/device.h"

namespace coppice {
namespace {

class AtOnceTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseThreads(GetParam()); }
  void TearDown() override { UseThreads(1); }
};

TEST_P(AtOnceTest, EveryPieceIsWorkedOnOnce) {
  std::vector<std::atomic<int>> done(17);
  ForEachAtOnce({}, 17, [&](int64_t k) { ++done[static_cast<size_t>(k)]; });
  for (const std::atomic<int>& times : done) EXPECT_EQ(times, 1);
  ForEachAtOnce({}, 0, [](int64_t) { FAIL(); });
}

// However many a round is of, what is made is taken in order, and no more of it waits.
TEST_P(AtOnceTest, RoundsHandOverInOrder) {
  for (const int64_t at_once : {1, 2, 5, 100}) {
    std::vector<int64_t> taken;
    std::atomic<int64_t> made = 0;
    InRounds(
        {}, 11, at_once,
        [&](int64_t k) {
          ++made;
          return k * k;
        },
        [&](int64_t k, int64_t square) {
          EXPECT_EQ(square, k * k);
          EXPECT_LE(made - k, at_once);
          taken.push_back(k);
        });
    EXPECT_EQ(taken, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  }
}

TEST_P(AtOnceTest, WhatIsThrownArrives) {
  const auto make = [](int64_t k) {
    if (k == 4) throw std::runtime_error("four");
    return k;
  };
  int64_t taken = 0;
  EXPECT_THROW(InRounds({}, 9, 3, make, [&](int64_t, int64_t) { ++taken; }), std::runtime_error);
  EXPECT_EQ(taken, 3);
}

INSTANTIATE_TEST_SUITE_P(Threads, AtOnceTest, testing::Values(1, 3));

}  // namespace
}  // namespace coppice
