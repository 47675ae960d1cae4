#include "eval/compare.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "eval/evaluate.h"

namespace coppice {
namespace {

at::Tensor Row(std::vector<float> numbers) { return at::tensor(numbers, at::kFloat); }

TEST(CompareOutputs, ClassificationByHand) {
  const Comparison result =
      CompareOutputs(Task::kClassification, {Row({0.5, 0.5}).log(), Row({0.9, 0.1}).log() + 3},
                     {Row({0.2, 0.8}).log(), Row({0.9, 0.1}).log()});
  const double kl = 0.5 * std::log(0.5 / 0.2) + 0.5 * std::log(0.5 / 0.8);  // the second is 0
  EXPECT_NEAR(*result.kl, kl / 2, 1e-6);
  EXPECT_EQ(*result.agreement, 0.5);
  EXPECT_NEAR(result.max_difference, 3, 1e-6);
  EXPECT_NEAR(result.mean_difference, (std::log(2.5) + std::log(1.6) + 6) / 4, 1e-6);
  EXPECT_FALSE(result.cosine);
}

// Start and end count alike; an answer agrees when both do.
TEST(CompareOutputs, AnswersByHand) {
  const at::Tensor start = Row({0.7, 0.3}).log(), end = Row({0.4, 0.6}).log();
  const at::Tensor other_end = Row({0.6, 0.4}).log();
  const Comparison result = CompareOutputs(Task::kQuestionAnswering, {at::stack({start, end}, 1)},
                                           {at::stack({start, other_end}, 1)});
  EXPECT_NEAR(*result.kl, (0.4 * std::log(0.4 / 0.6) + 0.6 * std::log(0.6 / 0.4)) / 2, 1e-6);
  EXPECT_EQ(*result.agreement, 0);
}

TEST(CompareOutputs, EmbeddingsAndValues) {
  const Comparison angle =
      CompareOutputs(Task::kNone, {Row({1, 0}), Row({0, 1})}, {Row({0.6f, 0.8f}), Row({0, 1})});
  EXPECT_NEAR(*angle.cosine, 0.8, 1e-6);
  EXPECT_FALSE(angle.kl || angle.agreement);
  const Comparison values = CompareOutputs(Task::kRegression, {Row({1})}, {Row({-1})});
  EXPECT_EQ(values.max_difference, 2);
  EXPECT_FALSE(values.kl || values.agreement || values.cosine);
}

TEST(Metric, FollowsTheTask) {
  ModelSpec spec;
  Samples samples;
  for (const double label : {0.0, 1.0, 2.0}) samples.samples.push_back({{}, label, 0, 0});
  spec.task = Task::kClassification;
  const auto accuracy =
      ComputeMetric(spec, {}, samples, {Row({2, 1, 0}), Row({2, 1, 0}), Row({0, 1, 2})});
  EXPECT_EQ(accuracy->name, "accuracy");
  EXPECT_NEAR(accuracy->value, 2.0 / 3, 1e-12);
  spec.task = Task::kRegression;
  const auto ranks = ComputeMetric(spec, {}, samples, {Row({5}), Row({7}), Row({6})});
  EXPECT_EQ(ranks->name, "spearman");
  EXPECT_NEAR(ranks->value, 0.5, 1e-12);
  spec.task = Task::kNone;
  EXPECT_FALSE(ComputeMetric(spec, {}, samples, {}));
}

}  // namespace
}  // namespace coppice
