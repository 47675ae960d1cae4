// Overlap of samples, splitting, and text that a model draws from itself.
#include "calibrate/overlap.h"

#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "calibrate/self_text.h"
#include "model/device.h"

namespace coppice {
namespace {

Sample Numbers(int32_t first, int32_t count) {
  Sample sample;
  for (int32_t i = 0; i < count; ++i) sample.encoding.ids.push_back(first + i);
  return sample;
}

TEST(SeenShare, CountsWhatSharesAStretch) {
  Samples seen, judged;
  seen.samples = {Numbers(0, 200), Numbers(5000, 3)};
  judged.samples = {Numbers(100, 40), Numbers(169, 90), Numbers(5000, 3), Numbers(5000, 4)};
  EXPECT_DOUBLE_EQ(SeenShare(seen, judged), 0.5);  // the second shares 31 tokens only
  judged.samples = {Numbers(168, 90)};
  EXPECT_DOUBLE_EQ(SeenShare(seen, judged), 1);
  EXPECT_DOUBLE_EQ(SeenShare({}, judged), 0);
  EXPECT_DOUBLE_EQ(SeenShare(seen, {}), 0);
}

TEST(TakeEvery, SplitsWithoutLoss) {
  Samples samples;
  samples.labelled = true;
  for (int32_t i = 0; i < 20; ++i) samples.samples.push_back(Numbers(i, 1));
  const Samples taken = TakeEvery(9, &samples);
  ASSERT_EQ(taken.samples.size(), 2u);
  EXPECT_EQ(taken.samples[0].encoding.ids[0], 8);
  EXPECT_EQ(taken.samples[1].encoding.ids[0], 17);
  EXPECT_EQ(samples.samples.size(), 18u);
  EXPECT_EQ(samples.samples[8].encoding.ids[0], 9);
  EXPECT_TRUE(taken.labelled && samples.labelled);
}

// All of a context go the same way; without contexts it is every ninth sample.
TEST(HoldOut, LeavesNoTextOfAHeldOutSampleBehind) {
  Samples samples;
  for (int32_t i = 0; i < 40; ++i) {
    samples.samples.push_back(Numbers(i, 1));
    samples.samples.back().context = static_cast<uint64_t>(i * 7 % 13);
    samples.windows.push_back({.example = i});
  }
  const Samples taken = HoldOut(3, &samples);
  EXPECT_EQ(taken.samples.size() + samples.samples.size(), 40u);
  EXPECT_EQ(taken.windows.size(), taken.samples.size());
  EXPECT_NEAR(static_cast<double>(taken.samples.size()), 40.0 / 3, 2);
  for (const Sample& one : taken.samples) {
    for (const Sample& other : samples.samples) EXPECT_NE(one.context, other.context);
  }
  Samples plain;
  for (int32_t i = 0; i < 20; ++i) plain.samples.push_back(Numbers(i, 1));
  EXPECT_EQ(HoldOut(9, &plain).samples.size(), 2u);
}

TEST(SelfText, IsTheSameForTheSameSeed) {
  UseThreads(1);
  const Network net = Bind(LoadModel(SourceDir() / "testdata" / "tiny-decoders" / "llama2"), {});
  const Console quiet(true);
  const Samples a = DrawSelfText(net, 3, 12, 1, quiet), b = DrawSelfText(net, 3, 12, 1, quiet);
  const Samples other = DrawSelfText(net, 3, 12, 2, quiet);
  ASSERT_EQ(a.samples.size(), 3u);
  bool differs = false;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(a.samples[i].encoding.ids.size(), 12u);
    EXPECT_EQ(a.samples[i].encoding.ids, b.samples[i].encoding.ids);
    differs = differs || a.samples[i].encoding.ids != other.samples[i].encoding.ids;
    for (const int32_t id : a.samples[i].encoding.ids)
      EXPECT_TRUE(id >= 0 && id < net.spec.vocabulary);
  }
  EXPECT_TRUE(differs);
  EXPECT_NE(a.samples[0].encoding.ids, a.samples[1].encoding.ids);
}

}  // namespace
}  // namespace coppice
