// Draws of different seeds have nothing in common; drawn indices are what is asked for.
#include "core/random.h"

#include <gtest/gtest.h>

#include <set>

namespace coppice {
namespace {

// Seeds one apart once drew one sequence, a place later each: 2047 of 2048 samples were the same.
TEST(Random, SeedsAndStreamsShareNoNumbers) {
  constexpr uint64_t kSeeds = 16, kStreams = 4, kNumbers = 500;
  std::set<uint64_t> numbers;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (uint64_t stream = 0; stream < kStreams; ++stream) {
      Random random(seed, stream);
      for (uint64_t i = 0; i < kNumbers; ++i) numbers.insert(random.Next());
    }
  }
  EXPECT_EQ(numbers.size(), kSeeds * kStreams * kNumbers);
}

TEST(Random, OneSeedGivesOneSequence) {
  Random a(7, 3), b(7, 3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Next(), b.Next());
}

// Two draws of 2048 of 8192 with replacement meet in about 400 different indices.
TEST(DrawIndices, DifferentSeedsDrawDifferentSamples) {
  constexpr int64_t kPopulation = 8192, kCount = 2048;
  Random first(0), second(1);
  const std::vector<int64_t> drawn = DrawIndices(kPopulation, kCount, true, &first);
  const std::set<int64_t> a(drawn.begin(), drawn.end());
  std::set<int64_t> both;
  for (const int64_t index : DrawIndices(kPopulation, kCount, true, &second)) {
    ASSERT_GE(index, 0);
    ASSERT_LT(index, kPopulation);
    if (a.contains(index)) both.insert(index);
  }
  EXPECT_GT(both.size(), 300u);
  EXPECT_LT(both.size(), 500u);
}

TEST(DrawIndices, WithoutReplacementAllDiffer) {
  Random random(5);
  const std::vector<int64_t> drawn = DrawIndices(50, 80, false, &random);
  EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), 50u);
  EXPECT_EQ(DrawIndices(50, 20, false, &random).size(), 20u);
}

}  // namespace
}  // namespace coppice
