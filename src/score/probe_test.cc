// Probes: the second moment of their gradients is the Fisher information of the output.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model/model_testing.h"
#include "score/loss.h"

namespace coppice {
namespace {

Batch BatchOf(int64_t rows) {
  Batch batch;
  for (int64_t i = 0; i < rows; ++i) batch.samples.push_back(i);
  return batch;
}

// (B, ...) gradient of the probe by the output.
at::Tensor Probe(Task task, const at::Tensor& output, uint64_t seed) {
  at::AutoGradMode on(true);
  const at::Tensor z = output.detach().clone().requires_grad_();
  const at::Tensor sum = ProbeLosses(task, z, BatchOf(z.size(0)), seed).sum();
  return torch::autograd::grad({sum}, {z})[0];
}

at::Tensor Fisher(const at::Tensor& logits) {  // (C) -> (C, C)
  const at::Tensor p = at::softmax(logits.to(at::kDouble), 0);
  return at::diag(p) - at::outer(p, p);
}

TEST(Probe, OfTwoClassesHasNoNoise) {
  Random random(1);
  const at::Tensor logits = RandomTensor({6, 2}, &random) * 4;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}}) {
    const at::Tensor v = Probe(Task::kClassification, logits, seed).to(at::kDouble);
    for (int64_t i = 0; i < 6; ++i)
      EXPECT_LT(MaxDifference(at::outer(v[i], v[i]), Fisher(logits[i])), 1e-6);
  }
}

TEST(Probe, OfManyClassesHasTheFisherInformationOnAverage) {
  const at::Tensor logits = at::tensor({2.0F, -1.0F, 0.5F, -30.0F}).unsqueeze(0);
  constexpr int kSeeds = 4000;
  at::Tensor mean = at::zeros({4, 4}, at::kDouble);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const at::Tensor v = Probe(Task::kClassification, logits, seed)[0].to(at::kDouble);
    EXPECT_NEAR(v.sum().item<double>(), 0, 1e-5);  // no probability is made
    mean += at::outer(v, v) / kSeeds;
  }
  EXPECT_LT(MaxDifference(mean, Fisher(logits[0])), 0.01);
}

TEST(Probe, OfAnswersIsAQuarterOfEitherEndsAndLeavesPaddingAlone) {
  at::Tensor logits = at::tensor({1.0F, 0.0F, -0.5F, 2.0F, 0.0F, 0.0F}).view({1, 3, 2});
  logits[0][2].fill_(-INFINITY);                                                       // padding
  const at::Tensor v = Probe(Task::kQuestionAnswering, logits, 3)[0].to(at::kDouble);  // (T, 2)
  EXPECT_EQ(v[2].abs().sum().item<double>(), 0);
  for (const int64_t end : {0, 1}) {
    const at::Tensor one = v.select(1, end);
    EXPECT_LT(MaxDifference(at::outer(one, one), Fisher(logits[0].select(1, end)) / 4), 1e-6);
  }
}

TEST(Probe, OfAnswersDoesNotDependOnTheBatch) {
  Random random(4);
  const at::Tensor logits = RandomTensor({2, 3, 2}, &random);
  const at::Tensor padded = at::constant_pad_nd(logits, {0, 0, 0, 4}, -INFINITY);
  EXPECT_LT(MaxDifference(Probe(Task::kQuestionAnswering, padded, 3).slice(1, 0, 3),
                          Probe(Task::kQuestionAnswering, logits, 3)),
            1e-6);
}

// What drawn labels cost on the average: the sum over classes of p * -log p.
TEST(ExpectedLosses, AreMeansOverLabels) {
  Random random(6);
  const at::Tensor logits = RandomTensor({4, 3}, &random) * 3;
  const at::Tensor p = at::softmax(logits, 1);
  at::Tensor mean = at::zeros({4});
  for (int64_t label = 0; label < 3; ++label) {
    mean += p.select(1, label) *
            SampleLosses(Task::kClassification, logits, at::full({4}, label, at::kLong));
  }
  EXPECT_LT(MaxDifference(ExpectedLosses(Task::kClassification, logits), mean), 1e-6);
  at::Tensor answers = RandomTensor({2, 3, 2}, &random);
  const at::Tensor padded = at::constant_pad_nd(answers, {0, 0, 0, 4}, -INFINITY);
  EXPECT_LT(MaxDifference(ExpectedLosses(Task::kQuestionAnswering, padded),
                          ExpectedLosses(Task::kQuestionAnswering, answers)),
            1e-6);
}

// A model of values or embeddings whose outputs are none is to be noticed by its loss.
TEST(ExpectedLosses, OfWhatIsNoNumberAreNone) {
  for (const Task task : {Task::kRegression, Task::kNone}) {
    at::Tensor output = at::ones({3, 1});
    EXPECT_TRUE(ExpectedLosses(task, output).isfinite().all().item<bool>());
    output[1][0] = NAN;
    EXPECT_FALSE(ExpectedLosses(task, output)[1].isfinite().item<bool>());
    output[1][0] = INFINITY;
    EXPECT_FALSE(ExpectedLosses(task, output)[1].isfinite().item<bool>());
  }
}

TEST(Probe, OfValuesIsASign) {
  Random random(2);
  const at::Tensor v = Probe(Task::kRegression, RandomTensor({5, 1}, &random), 0);
  EXPECT_EQ(v.abs().min().item<float>(), 1);
  EXPECT_EQ(v.abs().max().item<float>(), 1);
}

}  // namespace
}  // namespace coppice
