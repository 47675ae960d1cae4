// ONNX files where models are expected: found, compared and timed. What runs them is skipped
// without a Python that has onnxruntime (COPPICE_PYTHON).
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/subprocess.h"
#include "export/onnx.h"
#include "pipeline/bench.h"
#include "pipeline/measure.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/source.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

bool HasRuntime() {
  static const bool found = RunProgram({PythonProgram(), "-c", "import onnxruntime"}, "").code == 0;
  return found;
}

class OnnxInputsTest : public PipelineTest {
 protected:
  // A folder with a tiny model's ONNX file, its config and its tokenizer, no weights.
  fs::path Exported(const std::string& name) const {
    const fs::path folder = folder_.path() / ("onnx-" + name);
    fs::create_directory(folder);
    WriteOnnx(LoadModel(TinyFolder(name)), OnnxStyle::kFused, folder);
    return folder;
  }
  MeasureOptions On(const std::string& name) const {
    return {.data = DataFor(name), .device = "cpu", .dtype = "float32", .threads = 1};
  }
};

#define SKIP_WITHOUT_RUNTIME() \
  if (!HasRuntime()) GTEST_SKIP() << "needs a Python with onnxruntime (COPPICE_PYTHON)"

TEST_F(OnnxInputsTest, AreFound) {
  const fs::path folder = Exported("bert-classification");
  EXPECT_EQ(FindOnnxFile(folder), folder / "model.onnx");
  EXPECT_EQ(FindOnnxFile(folder / "model.onnx"), folder / "model.onnx");
  EXPECT_EQ(FindOnnxFile(TinyFolder("bert-classification")), fs::path());
  EXPECT_EQ(FindOnnxFile(folder / "config.json"), fs::path());
  EXPECT_EQ(FindOnnxFile(folder_.path() / "nowhere"), fs::path());
  fs::copy(TinyFolder("bert-classification") / "model.safetensors", folder);
  EXPECT_EQ(FindOnnxFile(folder), fs::path());  // the weights are the model
  const OnnxInputs inputs = ReadOnnxInputs(folder / "model.onnx");
  EXPECT_EQ(inputs.vocabulary, 112);
  EXPECT_EQ(inputs.max_tokens, 64);
  EXPECT_EQ(inputs.token_types, 2);
}

TEST_F(OnnxInputsTest, EqualTheModelThatTheyWereMadeOf) {
  SKIP_WITHOUT_RUNTIME();
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const fs::path onnx = Exported(name);
    const std::vector<std::pair<fs::path, fs::path>> pairs = {
        {TinyFolder(name), onnx}, {onnx, TinyFolder(name)}, {onnx, onnx / "model.onnx"}};
    for (const auto& [first, second] : pairs) {
      const PairMeasurement pair = MeasurePair(first, second, On(name), kQuiet);
      EXPECT_LT(pair.comparison.max_difference, 1e-4);
      EXPECT_EQ(pair.first.runtime == "coppice", first != onnx);
      EXPECT_EQ(pair.second.runtime.starts_with("onnxruntime "), second != TinyFolder(name));
      EXPECT_EQ(pair.first.metric.has_value(), name != "roberta-base");
      if (pair.first.metric) {
        EXPECT_EQ(pair.first.metric->value, pair.second.metric->value);
      }
      EXPECT_EQ(pair.first.examples, 32);
    }
  }
}

TEST_F(OnnxInputsTest, OfAnotherKindAreRefused) {
  SKIP_WITHOUT_RUNTIME();
  const fs::path onnx = Exported("bert-classification");
  ExpectError(ExitCode::kBadInput, {"model.onnx", "start_logits"}, [&] {
    MeasurePair(TinyFolder("bert-question-answering"), onnx, On("bert-question-answering"), kQuiet);
  });
  ExpectError(ExitCode::kBadInput, {"model.onnx", "3 logits, not 1"}, [&] {
    MeasurePair(TinyFolder("bert-regression"), onnx, On("bert-regression"), kQuiet);
  });
  fs::remove(onnx / "config.json");
  ExpectError(ExitCode::kBadInput, {"model.onnx", "config.json and tokenizer.json beside it"},
              [&] { MeasurePair(onnx, onnx, On("bert-classification"), kQuiet); });
}

TEST_F(OnnxInputsTest, AreTimedBesideModels) {
  SKIP_WITHOUT_RUNTIME();
  const fs::path onnx = Exported("bert-classification");
  BenchOptions options;
  options.models = {TinyFolder("bert-classification"), onnx, onnx / "model.onnx"};
  options.batches = {1, 2};
  options.lengths = {7};
  options.repeats = 3;
  options.device = "cpu";
  options.threads = 1;
  const BenchReport report = Bench(options, kQuiet);
  ASSERT_EQ(report.rows.size(), 6U);
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const BenchRow& row = report.rows[i];
    EXPECT_EQ(row.model, options.models[i % 3].string());
    EXPECT_EQ(row.runtime == "coppice", i % 3 == 0);
    EXPECT_EQ(row.batch, i < 3 ? 1 : 2);
    EXPECT_EQ(row.stage, "forward");
    EXPECT_GE(row.repeats, 3);
    EXPECT_GT(row.median_ms, 0);
    EXPECT_NEAR(row.speedup, report.rows[i / 3 * 3].median_ms / row.median_ms, 1e-9);
  }
}

TEST_F(OnnxInputsTest, NeedTheRuntime) {
  const fs::path onnx = Exported("bert-classification");
  const char* const python = std::getenv("COPPICE_PYTHON");
  const std::string before = python != nullptr ? python : "";
  ::setenv("COPPICE_PYTHON", "/no/such/python", 1);
  ExpectError(ExitCode::kEnvironment, {"model.onnx", "onnxruntime", "COPPICE_PYTHON"}, [&] {
    MeasurePair(TinyFolder("bert-classification"), onnx, On("bert-classification"), kQuiet);
  });
  BenchOptions options;
  options.models = {onnx};
  options.device = "cpu";
  ExpectError(ExitCode::kEnvironment, {"onnxruntime is not at hand"},
              [&] { Bench(options, kQuiet); });
  python != nullptr ? ::setenv("COPPICE_PYTHON", before.c_str(), 1) : ::unsetenv("COPPICE_PYTHON");
}

TEST(Bench, MeasuresPrefillAndDecodeOfLanguageModels) {
  BenchOptions options;
  options.models = {SourceDir() / "testdata" / "tiny-decoders" / "llama3",
                    SourceDir() / "testdata" / "tiny-decoders" / "tied"};
  options.batches = {1};
  options.lengths = {8};
  options.repeats = 3;
  options.device = "cpu";
  options.threads = 1;
  const BenchReport report = Bench(options, kQuiet);
  ASSERT_EQ(report.rows.size(), 4U);
  EXPECT_EQ(report.rows[1].stage, "prefill");
  EXPECT_EQ(report.rows[2].stage, "decode");
  EXPECT_EQ(report.rows[2].speedup, 1);
  options.models.push_back(TinyFolder("bert-classification"));
  ExpectError(ExitCode::kUsage, {"a language model and an encoder"},
              [&] { Bench(options, kQuiet); });
  options.models = {TinyFolder("bert-classification")};
  options.lengths = {65};
  ExpectError(ExitCode::kUsage, {"at most 64", "65"}, [&] { Bench(options, kQuiet); });
}

}  // namespace
}  // namespace coppice
