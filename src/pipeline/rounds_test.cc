// Curves scaled to what was measured: of single widths, and around a plan.
#include "pipeline/rounds.h"

#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/measured_levels.h"

namespace coppice {
namespace {

// Sixteen units; losses fall from 0.16 nats by 0.01 a unit.
ObsCurve Straight() {
  ObsCurve curve;
  for (int64_t count = 0; count <= 16; ++count) {
    curve.counts.push_back(count);
    curve.losses.push_back(0.01 * static_cast<double>(16 - count));
  }
  return curve;
}

TEST(ScaleCurve, TakesTheGeometricMeanOfWhatIsAboveTheNoise) {
  ObsCurve curve = Straight();
  // Estimated .12, .08 and .04; the last is within four times the floor.
  const double floor = 0.001;
  const double scale =
      ScaleCurve({0, 4, 8, 12}, {0.5, 0.24 + floor, 0.32 + floor, 0.003}, floor, &curve);
  EXPECT_NEAR(scale, std::sqrt(2.0 * 4.0), 1e-12);
  EXPECT_NEAR(LossAt(curve, 8), 0.08 * scale, 1e-12);
  EXPECT_NEAR(LossAt(curve, 0), 0.5 - floor, 1e-12);  // as measured
  EXPECT_EQ(LossAt(curve, 16), 0);
}

TEST(ScaleCurve, NeverRises) {
  ObsCurve curve = Straight();
  ScaleCurve({0, 8}, {0.01, 0.16}, 0, &curve);  // less of nothing than of half
  for (size_t k = 1; k < curve.losses.size(); ++k) EXPECT_LE(curve.losses[k], curve.losses[k - 1]);
}

// Dead units may be removed for nothing, which has no logarithm.
TEST(ScaleCurve, TakesNothingForNoMeasurement) {
  ObsCurve curve = Straight();
  EXPECT_EQ(ScaleCurve({0, 8}, {0, 0}, 0, &curve), 1);
  EXPECT_NEAR(LossAt(curve, 8), 0.08, 1e-12);
}

// Files stand one after the other in the samples: what is measured is of all of them.
TEST(MeasuredSamples, AreSpread) {
  Samples samples;
  for (int32_t i = 0; i < 12; ++i) samples.samples.emplace_back().encoding.ids = {i};
  ModelSpec spec;
  spec.task = Task::kLanguageModel;
  const Samples few = MeasuredSamples(samples, spec);
  ASSERT_EQ(few.samples.size(), 4u);
  for (size_t k = 0; k < 4; ++k)
    EXPECT_EQ(few.samples[k].encoding.ids[0], static_cast<int32_t>(3 * k + 1));
  spec.task = Task::kClassification;
  EXPECT_EQ(MeasuredSamples(samples, spec).samples.size(), 12u);
}

ObsScores ThreeCurves() {
  ObsScores scores;
  scores.curves = {Straight(), Straight(), Straight()};
  return scores;
}

// All but the first change twice as much as predicted, the first eight times: it goes half way from
// what is usual to its own.
TEST(ScaleAround, GoesHalfWayToASubLayersOwnRatio) {
  ObsScores scores = ThreeCurves();
  std::vector<AroundCut> around(3);
  for (size_t i = 0; i < 3; ++i) {
    const double ratio = i == 0 ? 8 : 2;
    around[i] = {.kept = 8,
                 .less = 6,
                 .cut = 1 + ratio * 0.08,
                 .whole = 1,
                 .more = 1 + ratio * 0.10,
                 .measured = true};
  }
  ScaleAround(around, &scores);
  const double usual = std::cbrt(8.0 * 2 * 2);
  EXPECT_NEAR(LossAt(scores.curves[0], 8), 0.08 * usual * std::sqrt(8 / usual), 1e-9);
  for (const size_t other : {1U, 2U})
    EXPECT_NEAR(LossAt(scores.curves[other], 8), 0.08 * usual * std::sqrt(2 / usual), 1e-9);
}

// What was not measured, or drowns in noise, follows the others.
TEST(ScaleAround, FollowsTheOthersWhereNothingCouldBeTold) {
  ObsScores scores = ThreeCurves();
  scores.floor = 0.05;
  std::vector<AroundCut> around(3);
  around[0] = {.kept = 8, .less = 6, .cut = 1.32, .whole = 1, .more = 1.33, .measured = true};
  around[1] = {.kept = 8, .less = 6, .cut = 1.1, .whole = 1, .more = 1.2, .measured = true};
  ScaleAround(around, &scores);
  for (const ObsCurve& curve : scores.curves) EXPECT_NEAR(LossAt(curve, 8), 0.08 * 4, 1e-9);
  ObsScores nothing = ThreeCurves();
  ScaleAround(std::vector<AroundCut>(3), &nothing);
  for (const ObsCurve& curve : nothing.curves) EXPECT_EQ(curve.losses, Straight().losses);
}

}  // namespace
}  // namespace coppice
