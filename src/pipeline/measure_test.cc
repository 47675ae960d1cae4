#include "pipeline/measure.h"

#include <gtest/gtest.h>

#include "pipeline/pipeline_testing.h"

namespace coppice {
namespace {

using MeasureTest = PipelineTest;

MeasureOptions On(const std::filesystem::path& data) {
  return {.data = data, .device = "cpu", .dtype = "float32", .threads = 1};
}

TEST_F(MeasureTest, RefusesPairsThatCannotBeCompared) {
  const auto refused = [&](const std::string& first, const std::string& second,
                           const std::string& part) {
    SCOPED_TRACE(first + " " + second);
    MeasureOptions options = On(Write("data.jsonl", "{\"text\": \"The cat.\", \"label\": 0}\n"));
    ExpectError(ExitCode::kBadInput, {part},
                [&] { MeasurePair(TinyFolder(first), TinyFolder(second), options, kQuiet); });
  };
  refused("bert-classification", "bert-regression", "regression with 1 labels");
  refused("bert-classification", "bert-base", "embedding");
  refused("bert-classification", "roberta-classification", "tokenizers differ");
}

// A model against itself differs in nothing.
TEST_F(MeasureTest, AModelEqualsItself) {
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const MeasureOptions options = On(DataFor(name));
    const PairMeasurement pair = MeasurePair(TinyFolder(name), TinyFolder(name), options, kQuiet);
    EXPECT_EQ(pair.comparison.max_difference, 0);
    EXPECT_EQ(pair.comparison.mean_difference, 0);
    const bool embedding = name == "roberta-base";
    const bool distributions = name == "bert-classification" || name == "mpnet-question-answering";
    ASSERT_EQ(pair.comparison.kl.has_value(), distributions);
    if (distributions) {
      EXPECT_EQ(*pair.comparison.kl, 0);
      EXPECT_EQ(*pair.comparison.agreement, 1);
    }
    ASSERT_EQ(pair.comparison.cosine.has_value(), embedding);
    if (embedding) {
      EXPECT_NEAR(*pair.comparison.cosine, 1, 1e-6);
    }
    EXPECT_EQ(pair.first.metric.has_value(), !embedding);
    EXPECT_EQ(pair.first.examples, 32);
    const Measurement alone = MeasureModel(TinyFolder(name), options, kQuiet);
    EXPECT_EQ(alone.tokens, pair.second.tokens);
    if (!embedding) {
      EXPECT_EQ(alone.metric->value, pair.second.metric->value);
    }
  }
}

TEST_F(MeasureTest, DifferentModelsDiffer) {
  const MeasureOptions options = On(DataFor("bert-classification"));
  const PairMeasurement pair =
      MeasurePair(TinyFolder("bert-sharded"), TinyFolder("bert-classification"), options, kQuiet);
  EXPECT_GT(pair.comparison.max_difference, 0.1);
  EXPECT_GT(*pair.comparison.kl, 1e-3);
  EXPECT_LT(*pair.comparison.agreement, 1);
  // The same weights, rounded.
  const PairMeasurement rounded =
      MeasurePair(TinyFolder("bert-sharded"), TinyFolder("bert-float16"), options, kQuiet);
  EXPECT_GT(rounded.comparison.max_difference, 0);
  EXPECT_LT(rounded.comparison.max_difference, 1e-2);
}

TEST_F(MeasureTest, LimitsAndMissingLabels) {
  MeasureOptions options = On(DataFor("bert-classification"));
  options.limit = 5;
  EXPECT_EQ(MeasureModel(TinyFolder("bert-classification"), options, kQuiet).examples, 5);
  options = On(Write("bare.jsonl", "{\"text\": \"The cat.\"}\n"));
  ExpectError(ExitCode::kBadInput, {"bare.jsonl:1", "label"},
              [&] { MeasureModel(TinyFolder("bert-classification"), options, kQuiet); });
  options.labels_optional = true;
  const Measurement measured = MeasureModel(TinyFolder("bert-classification"), options, kQuiet);
  EXPECT_FALSE(measured.metric.has_value());
  EXPECT_EQ(measured.examples, 1);
}

}  // namespace
}  // namespace coppice
