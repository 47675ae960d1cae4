// Models written in other forms, and what the proof says of them.
#include "pipeline/export.h"

#include "model/decoder_testing.h"
#include "model/device.h"
#include "pipeline/pipeline_testing.h"

namespace coppice {
namespace {

class ExportTest : public PipelineTest {
 protected:
  ExportReport ExportTo(const std::filesystem::path& model, const std::vector<std::string>& forms) {
    ExportOptions options;
    options.model = model;
    options.forms = forms;
    options.out = Out();
    options.threads = 1;
    return Export(options, kQuiet);
  }
  std::filesystem::path Out() const { return folder_.path() / "out"; }
};

TEST_F(ExportTest, AFolderOfAFolderIsTheSameModel) {
  for (const std::string name : {"mpnet-question-answering", "bert-base", "roberta-regression"}) {
    SCOPED_TRACE(name);
    const ExportReport report = ExportTo(TinyFolder(name), {"hf"});
    ASSERT_EQ(report.forms.size(), 1u);
    EXPECT_EQ(report.forms[0].max_difference, 0);
    EXPECT_GT(report.forms[0].largest_output, 0);
    EXPECT_EQ(report.forms[0].samples, 8);
    EXPECT_TRUE(report.forms[0].runtime.starts_with("coppice "));
    EXPECT_GT(report.bytes, 1000);
    LoadModel(Out());
    std::filesystem::remove_all(Out());
  }
}

TEST_F(ExportTest, OnnxIsCheckedWhereItsRuntimeIs) {
  const ExportReport report = ExportTo(TinyFolder("mpnet-classification"), {"onnx", "hf"});
  EXPECT_TRUE(std::filesystem::exists(Out() / "model.onnx"));
  EXPECT_TRUE(std::filesystem::exists(Out() / "model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(Out() / "tokenizer.json"));
  ASSERT_EQ(report.forms.size(), 2u);
  const FormProof& proof = report.forms[0];
  EXPECT_EQ(proof.form, "onnx");
  EXPECT_EQ(proof.file, "model.onnx");
  EXPECT_EQ(proof.runtime.empty(), !proof.max_difference.has_value());
  const nlohmann::ordered_json json = ProofsJson(report.forms);
  EXPECT_EQ(json[0]["runtime"].is_null(), proof.runtime.empty());
  if (proof.runtime.empty())
    GTEST_SKIP() << "the rest needs a Python with onnxruntime (COPPICE_PYTHON)";
  EXPECT_TRUE(proof.runtime.starts_with("onnxruntime "));
  EXPECT_LT(*proof.max_difference, 1e-5);
}

TEST_F(ExportTest, GgufIsReadAgain) {
  const ExportReport report = ExportTo(TinyDecoderPath("deci.gguf"), {"gguf"});
  ASSERT_TRUE(report.forms.at(0).max_difference);
  EXPECT_GT(*report.forms[0].max_difference, 0);  // float16
  EXPECT_LT(*report.forms[0].max_difference, 0.05);
  EXPECT_EQ(report.forms[0].samples, 2);
}

TEST_F(ExportTest, RefusesWhatHasNoSuchForm) {
  ExpectError(ExitCode::kUsage, {"--to onnx", "an encoder"},
              [&] { ExportTo(TinyDecoderPath("llama2.gguf"), {"onnx"}); });
  ExpectError(ExitCode::kUsage, {"--to gguf", "a language model", "bert"},
              [&] { ExportTo(TinyFolder("bert-base"), {"gguf"}); });
  ExpectError(ExitCode::kUsage, {"--to", "hf, gguf, onnx", "tflite"}, [&] {
    ExportTo(TinyFolder("bert-base"), {"onnx", "tflite"});
  });
  EXPECT_FALSE(std::filesystem::exists(Out()));
}

TEST_F(ExportTest, RefusesAnOutputThatIsThereOrIsAFile) {
  std::filesystem::create_directory(Out());
  WriteFile(Out() / "precious", "text");
  ExpectError(ExitCode::kUsage, {Out().string()},
              [&] { ExportTo(TinyFolder("bert-base"), {"onnx"}); });
  EXPECT_EQ(ReadFile(Out() / "precious"), "text");
  ExportOptions options;
  options.model = TinyFolder("bert-base");
  options.forms = {"onnx"};
  options.out = folder_.path() / "my.onnx";
  ExpectError(ExitCode::kUsage, {"my.onnx", "folder", "model.onnx"},
              [&] { Export(options, kQuiet); });
}

TEST_F(ExportTest, NeverReplacesTheModelItself) {
  const std::filesystem::path model = folder_.path() / "model";
  std::filesystem::copy(TinyFolder("bert-base"), model);
  ExportOptions options;
  options.model = options.out = model;
  options.forms = {"onnx"};
  options.replace = true;
  ExpectError(ExitCode::kUsage, {"holds an input"}, [&] { Export(options, kQuiet); });
  LoadModel(model);
}

TEST_F(ExportTest, AnOnnxFolderIsNotAModel) {
  ExportTo(TinyFolder("bert-base"), {"onnx"});
  ExpectError(ExitCode::kBadInput, {"no weights", "ONNX files are written, not read"},
              [&] { LoadModel(Out()); });
}

TEST(Proof, TakesAFewSamplesAndTheFirstTokensOfTexts) {
  Samples samples;
  for (int i = 0; i < 20; ++i) {
    Sample& sample = samples.samples.emplace_back();
    sample.encoding.ids.assign(100, i);
    sample.encoding.type_ids.assign(100, 0);
  }
  ModelSpec spec;
  EXPECT_EQ(ProofSamples(spec, samples).samples.size(), 8u);
  EXPECT_EQ(ProofSamples(spec, samples).samples[7].tokens(), 100);
  spec.task = Task::kLanguageModel;
  const Samples texts = ProofSamples(spec, samples);
  ASSERT_EQ(texts.samples.size(), 2u);
  EXPECT_EQ(texts.samples[1].encoding.ids, std::vector<int32_t>(64, 1));
}

}  // namespace
}  // namespace coppice
