// Perplexity and comparisons of language models against sums written out by hand.
#include "eval/language_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "calibrate/samples_testing.h"
#include "eval/run_model.h"
#include "model/decoder_testing.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

using nlohmann::json;

const Console kQuiet(true);

// log softmax(logits)[id] in plain float64.
double LogProbability(const at::Tensor& logits, int64_t id) {
  const at::Tensor exact = logits.to(at::kDouble).contiguous();
  const double* values = exact.const_data_ptr<double>();
  const double largest = *std::max_element(values, values + exact.numel());
  double sum = 0;
  for (int64_t i = 0; i < exact.numel(); ++i) sum += std::exp(values[i] - largest);
  return values[id] - largest - std::log(sum);
}

// Without its one-token case, which predicts nothing.
std::vector<json> Predicting(const TinyDecoder& tiny) {
  return {tiny.cases.begin() + 1, tiny.cases.end()};
}

Samples SamplesOf(const std::vector<json>& cases) {
  return GoldenSamples({{"cases", cases}}, cases.size());
}

TEST(NextTokenLogProbabilities, AreThoseOfTheSoftmax) {
  const TinyDecoder tiny("llama3");
  for (const json& one : tiny.cases) {
    const Batch batch = GoldenBatch({one}, 0);
    const at::Tensor logits = Outputs(tiny.net, batch);
    const at::Tensor found = NextTokenLogProbabilities(logits, batch);
    const int64_t tokens = batch.ids.size(1);
    ASSERT_EQ(found.sizes().vec(), (std::vector<int64_t>{1, tokens - 1}));
    for (int64_t t = 0; t + 1 < tokens; ++t) {
      const double expected = LogProbability(logits[0][t], batch.ids[0][t + 1].item<int64_t>());
      EXPECT_NEAR(found[0][t].item<double>(), expected, 1e-5);
    }
  }
}

TEST(Perplexity, IsThatOfTheGoldenLosses) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const std::vector<json> cases = Predicting(tiny);
    double sum = 0, count = 0;
    for (const json& one : cases) {
      const auto predicted = static_cast<double>(one["ids"].size() - 1);
      sum += one["loss"].get<double>() * predicted;  // every token weighs the same
      count += predicted;
    }
    const std::vector<at::Tensor> outputs = RunModel(tiny.net, SamplesOf(cases), kQuiet);
    ASSERT_EQ(outputs.size(), cases.size());
    for (size_t i = 0; i < cases.size(); ++i) {
      EXPECT_EQ(outputs[i].size(0) + 1, static_cast<int64_t>(cases[i]["ids"].size()));
      EXPECT_NEAR(-outputs[i].mean().item<double>(), cases[i]["loss"].get<double>(), 1e-5);
    }
    const double expected = std::exp(sum / count);
    EXPECT_NEAR(Perplexity(outputs), expected, 1e-4 * expected);
  }
}

// A part of the batches on each of three threads.
TEST(RunModel, GivesTheSameWithMoreThreads) {
  const TinyDecoder tiny("llama3");
  const Samples samples = RandomSamples(tiny.net.spec, 300, 1);
  ASSERT_GT(samples.tokens(), 4 * UsualBatchTokens(at::kCPU));
  const std::vector<at::Tensor> one = RunModel(tiny.net, samples, kQuiet);
  UseThreads(3);
  const std::vector<at::Tensor> three = RunModel(tiny.net, samples, kQuiet);
  UseThreads(1);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_LT(MaxDifference(three[i], one[i]), 1e-5) << i;
}

TEST(Perplexity, OfNumbersByHand) {
  const std::vector<at::Tensor> outputs = {at::tensor({-std::log(2.0f), -std::log(8.0f)}),
                                           at::tensor({-std::log(4.0f)}), at::empty({0})};
  EXPECT_NEAR(Perplexity(outputs), 4, 1e-6);
  EXPECT_TRUE(std::isinf(Perplexity({})));
  EXPECT_NEAR(Perplexity({at::full({3}, -100.0f)}), std::exp(100.0), 1e38);
}

TEST(LanguageModelPair, OfAModelWithItselfAgrees) {
  const TinyDecoder tiny("tied");
  const Samples samples = SamplesOf(Predicting(tiny));
  const LanguageModelPair pair = RunLanguageModelPair(tiny.net, tiny.net, samples, kQuiet);
  EXPECT_EQ(pair.comparison.max_difference, 0);
  EXPECT_EQ(pair.comparison.mean_difference, 0);
  EXPECT_EQ(pair.comparison.kl, 0);
  EXPECT_EQ(pair.comparison.agreement, 1);
  const std::vector<at::Tensor> alone = RunModel(tiny.net, samples, kQuiet);
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_LT(MaxDifference(pair.first[i], alone[i]), 1e-5);
    EXPECT_EQ(MaxDifference(pair.first[i], pair.second[i]), 0);
  }
}

// KL(first || second) and the rest, token by token.
TEST(LanguageModelPair, OfTwoModelsIsTheMeanOverTokens) {
  const TinyDecoder tiny("llama3");
  Plan plan = FullPlan(UnitCounts(tiny.model.spec));
  plan.kept[1].resize(20);
  plan.kept[2] = {1};
  const Network other = Bind(Shrink(tiny.model, plan), {});
  const std::vector<json> cases = Predicting(tiny);
  const LanguageModelPair pair = RunLanguageModelPair(tiny.net, other, SamplesOf(cases), kQuiet);
  double largest = 0, difference = 0, kl = 0, agreement = 0, tokens = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Batch batch = GoldenBatch({cases[i]}, 0);
    const at::Tensor a = Outputs(tiny.net, batch)[0].to(at::kDouble);
    const at::Tensor b = Outputs(other, batch)[0].to(at::kDouble);
    EXPECT_LT(
        MaxDifference(pair.first[i], NextTokenLogProbabilities(Outputs(tiny.net, batch), batch)[0]),
        1e-5);
    EXPECT_LT(
        MaxDifference(pair.second[i], NextTokenLogProbabilities(Outputs(other, batch), batch)[0]),
        1e-5);
    for (int64_t t = 0; t < a.size(0); ++t) {
      largest = std::max(largest, (a[t] - b[t]).abs().max().item<double>());
      difference += (a[t] - b[t]).abs().mean().item<double>();
      for (int64_t id = 0; id < a.size(1); ++id) {
        const double p = LogProbability(a[t], id);
        kl += std::exp(p) * (p - LogProbability(b[t], id));
      }
      agreement += a[t].argmax().equal(b[t].argmax());
      ++tokens;
    }
  }
  EXPECT_NEAR(pair.comparison.max_difference, largest, 1e-5);
  EXPECT_NEAR(pair.comparison.mean_difference, difference / tokens, 1e-5);
  EXPECT_NEAR(pair.comparison.kl.value(), kl / tokens, 1e-5);
  EXPECT_NEAR(pair.comparison.agreement.value(), agreement / tokens, 1e-9);
  EXPECT_GT(pair.comparison.kl, 1e-2);
  EXPECT_LT(pair.comparison.agreement, 1);
}

}  // namespace
}  // namespace coppice
