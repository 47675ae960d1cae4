// Encoders written as ONNX, of every family, head and shape, run by ONNX Runtime and held against
// our own forward pass. Those that run it need a Python with onnx and onnxruntime (COPPICE_PYTHON;
// scripts/test installs them).
#include "export/onnx.h"

#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "core/subprocess.h"
#include "eval/compare.h"
#include "eval/run_model.h"
#include "eval/run_onnx.h"
#include "export/onnx_encoder.h"
#include "export/onnx_testing.h"
#include "model/device.h"
#include "shrink/narrow_testing.h"
#include "shrink/shrink.h"
#include "tune/tune.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr double kTolerance = 1e-5;

// Why files cannot be run here; empty where they can.
std::string Missing() {
  static const bool found =
      RunProgram({PythonProgram(), "-c", "import onnx, onnxruntime"}, "").code == 0;
  return found ? "" : "needs a Python with onnx and onnxruntime (COPPICE_PYTHON)";
}

std::string StyleName(OnnxStyle style) { return style == OnnxStyle::kFused ? "fused" : "plain"; }

// Samples of different lengths with both token types where the model has them.
Samples SamplesOf(const ModelSpec& spec) {
  Samples samples = RandomSamples(spec, 5, 3);
  const bool types = spec.family == "bert";
  for (Sample& sample : samples.samples) {
    for (size_t t = sample.encoding.ids.size() / 2; types && t < sample.encoding.ids.size(); ++t)
      sample.encoding.type_ids[t] = 1;
  }
  return samples;
}

// Of any output of any sample, all in one padded batch.
double DifferenceInOnnxRuntime(const Model& model, OnnxStyle style, const Samples& samples,
                               uint64_t external_above = kOnnxExternalAbove) {
  const TempFolder folder;
  WriteOnnx(model, style, folder.path(), external_above);
  const OnnxRun run = RunOnnx(folder.path() / "model.onnx", model.spec, samples, 1);
  EXPECT_EQ(run.failure, "");
  if (run.outputs.empty()) return INFINITY;
  const std::vector<at::Tensor> ours = RunModel(Bind(model, {}), samples, Console(true));
  return CompareOutputs(model.spec.task, ours, run.outputs).max_difference;
}

// Heads and channels of each sub-layer, drawn; 0 and all of them among what is drawn.
Model RandomlyPruned(const Model& model, uint64_t seed) {
  Random random(seed);
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    std::vector<int64_t>& kept = plan.kept[i];
    const auto count = static_cast<int64_t>(kept.size());
    int64_t stays = random.Below(count + 1);
    if (i == seed % plan.kept.size()) stays = 0;
    while (static_cast<int64_t>(kept.size()) > stays)
      kept.erase(kept.begin() + random.Below(static_cast<int64_t>(kept.size())));
  }
  const Model smaller = Shrink(model, plan);
  std::map<std::string, at::Tensor> repaired;
  for (const SubLayerSpec& sub : smaller.spec.sub_layers)
    repaired[sub.output + ".bias"] = RandomTensor({model.spec.width}, &random);
  return WithTensors(smaller, repaired);
}

class OnnxStyles : public testing::TestWithParam<OnnxStyle> {
 protected:
  void SetUp() override {
    if (!Missing().empty()) GTEST_SKIP() << Missing();
    UseThreads(1);
  }
};
INSTANTIATE_TEST_SUITE_P(All, OnnxStyles, testing::Values(OnnxStyle::kFused, OnnxStyle::kPlain),
                         [](const auto& one) { return StyleName(one.param); });

TEST_P(OnnxStyles, EveryTinyModelGivesOurOutputs) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Model model = LoadModel(TinyFolder(name));
    EXPECT_LT(DifferenceInOnnxRuntime(model, GetParam(), SamplesOf(model.spec)), kTolerance);
  }
}

TEST_P(OnnxStyles, LayersOfAnySizeGiveOurOutputs) {
  uint64_t seed = 0;
  for (const std::string name :
       {"bert-classification", "distilbert-regression", "mpnet-question-answering", "mpnet-base",
        "roberta-classification", "bert-question-answering"}) {
    SCOPED_TRACE(name);
    const Model model = RandomlyPruned(LoadModel(TinyFolder(name)), seed++);
    EXPECT_LT(DifferenceInOnnxRuntime(model, GetParam(), SamplesOf(model.spec)), kTolerance);
  }
}

TEST_P(OnnxStyles, NarrowHeadsGiveOurOutputs) {
  for (const std::string name : {"bert-classification", "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Model model = LoadModel(TinyFolder(name));
    Plan plan = NarrowPlan(model.spec);
    plan.kept[2] = {1, 3};
    const Model narrow = Shrink(model, plan);
    EXPECT_LT(DifferenceInOnnxRuntime(narrow, GetParam(), SamplesOf(model.spec)), kTolerance);
  }
}

TEST_P(OnnxStyles, AModelWithoutUnitsGivesOurOutputs) {
  for (const std::string name : {"bert-base", "mpnet-classification"}) {
    SCOPED_TRACE(name);
    const Model model = LoadModel(TinyFolder(name));
    Plan none;
    none.kept.resize(model.spec.sub_layers.size());
    const Model empty = Shrink(model, none);
    EXPECT_LT(DifferenceInOnnxRuntime(empty, GetParam(), SamplesOf(model.spec)), kTolerance);
  }
}

TEST_P(OnnxStyles, WithExternalDataIsTheSame) {
  const Model model = LoadModel(TinyFolder("mpnet-classification"));
  EXPECT_LT(DifferenceInOnnxRuntime(model, GetParam(), SamplesOf(model.spec), /*external_above=*/0),
            kTolerance);
}

// Each activation of a config, in files whose models have another one.
TEST_P(OnnxStyles, KnowsEveryActivation) {
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    Model model = LoadModel(TinyFolder("bert-classification"));
    model.spec.activation = activation;
    EXPECT_LT(DifferenceInOnnxRuntime(model, GetParam(), SamplesOf(model.spec)), kTolerance);
  }
}

// What a user does next: the checker, int8, float16. Tiny models are rounded roughly.
json CheckWithTheirTools(const Model& model, OnnxStyle style, const Samples& samples) {
  const TempFolder folder;
  WriteOnnx(model, style, folder.path());
  json batches = json::array();
  for (const Batch& batch : MakeBatches(samples, model.spec, 4096, at::kCPU)) {
    json one;
    for (const auto& [name, tensor] : {std::pair("input_ids", batch.ids),
                                       {"attention_mask", batch.mask},
                                       {"token_type_ids", batch.type_ids}}) {
      for (int64_t row = 0; row < batch.rows(); ++row) {
        const at::Tensor ids = tensor[row].to(at::kLong).contiguous();
        one[name].push_back(
            std::vector<int64_t>(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + ids.numel()));
      }
    }
    batches.push_back(one);
  }
  const ProgramResult result =
      RunProgram({PythonProgram(), (SourceDir() / "tools" / "check_onnx.py").string(),
                  (folder.path() / "model.onnx").string()},
                 json({{"batches", batches}}).dump());
  EXPECT_EQ(result.code, 0) << result.errors;
  return result.code == 0 ? json::parse(result.output) : json();
}

TEST_P(OnnxStyles, TheCheckerTheQuantizerAndFloat16TakeThem) {
  for (const std::string name :
       {"bert-classification", "mpnet-question-answering", "roberta-base", "distilbert-base"}) {
    SCOPED_TRACE(name);
    const Model dense = LoadModel(TinyFolder(name));
    const Model model = RandomlyPruned(dense, 5);
    const json result = CheckWithTheirTools(model, GetParam(), SamplesOf(model.spec));
    ASSERT_TRUE(result.is_object());
    EXPECT_LT(result["int8"].get<double>(), 0.2);
    EXPECT_LT(result["float16"].get<double>(), 0.002);
    EXPECT_EQ(result["fused"].get<int>() > 0, GetParam() == OnnxStyle::kFused);
    EXPECT_GT(result["optimized"].get<int>(), 0);  // ONNX Runtime finds what it can fuse itself
  }
}

TEST(OnnxModel, LeavesNothingOutOfTheFolder) {
  const TempFolder folder;
  const Model model = LoadModel(TinyFolder("bert-classification"));
  WriteOnnx(model, OnnxStyle::kFused, folder.path());
  std::vector<std::string> names = {"config.json", "model.onnx"};
  for (const fs::path& file : model.passthrough) names.push_back(file.filename().string());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(folder.Names(), names);
  EXPECT_EQ(ReadJson(folder.path() / "config.json"), json(model.config));
}

// Sizes of the file's layers, of every model: its heads, its weights and their shapes.
TEST(OnnxModel, HasTheModelsLayers) {
  const Model model = RandomlyPruned(LoadModel(TinyFolder("mpnet-base")), 1);
  const OnnxGraph graph = MakeOnnxEncoder(model, OnnxStyle::kFused);
  size_t attentions = 0;
  for (const OnnxNode& node : graph.nodes()) attentions += node.op == "MultiHeadAttention";
  size_t expected = 0;
  for (const SubLayerSpec& sub : model.spec.sub_layers)
    expected += sub.kind == UnitKind::kHead && sub.units > 0;
  EXPECT_EQ(attentions, expected);
  for (const OnnxTensor& tensor : graph.tensors()) {
    EXPECT_GT(tensor.tensor.numel(), 0) << tensor.name;
    const auto found = model.tensors.find(tensor.name);
    if (found == model.tensors.end() || found->second.dim() != 2) continue;
    const bool table = tensor.name.find("embeddings") != std::string::npos;
    EXPECT_TRUE(at::equal(tensor.tensor, table ? found->second : found->second.t())) << tensor.name;
  }
}

TEST(OnnxModel, PlainHasStandardOperatorsAlone) {
  for (const std::string& name : TinyNames()) {
    const Model model = LoadModel(TinyFolder(name));
    const OnnxGraph graph = MakeOnnxEncoder(model, OnnxStyle::kPlain);
    for (const OnnxNode& node : graph.nodes()) EXPECT_EQ(node.domain, "") << node.op;
  }
}

TEST(OnnxModel, HasNoInputForTypesThatAreAllAlike) {
  const auto inputs = [](const std::string& name) {
    return MakeOnnxEncoder(LoadModel(TinyFolder(name)), OnnxStyle::kFused).inputs().size();
  };
  EXPECT_EQ(inputs("bert-base"), 3u);
  EXPECT_EQ(inputs("roberta-base"), 2u);
  EXPECT_EQ(inputs("mpnet-base"), 2u);
  EXPECT_EQ(inputs("distilbert-base"), 2u);
}

TEST(OnnxModel, RefusesALanguageModel) {
  const TempFolder folder;
  const Model model = LoadModel(SourceDir() / "testdata" / "tiny-decoders" / "llama2");
  ExpectError(ExitCode::kUsage, {"--to onnx", "an encoder", "llama"},
              [&] { WriteOnnx(model, OnnxStyle::kFused, folder.path()); });
  EXPECT_TRUE(folder.Names().empty());
}

TEST(OnnxRun, SaysWhenThereIsNoRuntime) {
  const char* const before = std::getenv("COPPICE_PYTHON");
  const std::string saved = before == nullptr ? "" : before;
  ::setenv("COPPICE_PYTHON", "/nowhere/python", 1);
  const ModelSpec spec = LoadModel(TinyFolder("bert-base")).spec;
  const OnnxRun run = RunOnnx("absent.onnx", spec, RandomSamples(spec, 1, 0), 1);
  EXPECT_EQ(run.runtime, "");
  EXPECT_TRUE(run.outputs.empty());
  ::setenv("COPPICE_PYTHON", saved.c_str(), 1);
}

TEST(OnnxRun, SaysWhatTheRuntimeDidNotLike) {
  if (!Missing().empty()) GTEST_SKIP() << Missing();
  const TempFolder folder;
  WriteFile(folder.path() / "model.onnx", "no model");
  const ModelSpec spec = LoadModel(TinyFolder("bert-base")).spec;
  const OnnxRun run = RunOnnx(folder.path() / "model.onnx", spec, RandomSamples(spec, 1, 0), 1);
  EXPECT_NE(run.runtime, "");
  EXPECT_NE(run.failure, "");
}

// Real models, whole and with layers of random sizes.
class OnnxReal : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Slow, OnnxReal,
                         testing::Values("minilm-sst2", "minilm-stsb", "mpnet-sst2", "mpnet-squad",
                                         "bertbase-agnews", "minilm"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Three quarters of the heads and channels, so that outputs stay of the model's size.
Plan MildPlan(const ModelSpec& spec, bool uniform) {
  Plan plan = FullPlan(UnitCounts(spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    std::vector<int64_t>& kept = plan.kept[i];
    const size_t less = uniform ? kept.size() / 4 : kept.size() * (i % 5) / 10;
    kept.resize(kept.size() - less);
  }
  return plan;
}

TEST_P(OnnxReal, GivesOurOutputs) {
  const fs::path folder = RealModels() / GetParam();
  if (!Missing().empty()) GTEST_SKIP() << Missing();
  if (!fs::exists(folder / "config.json")) GTEST_SKIP() << "needs the model " << folder;
  const Model dense = LoadModel(folder);
  Samples samples = RandomSamples(dense.spec, 4, 1);
  for (const OnnxStyle style : {OnnxStyle::kFused, OnnxStyle::kPlain}) {
    SCOPED_TRACE(StyleName(style));
    EXPECT_LT(DifferenceInOnnxRuntime(dense, style, samples), 1e-4);
    for (const bool uniform : {false, true}) {
      const Model pruned = Shrink(dense, MildPlan(dense.spec, uniform));
      EXPECT_LT(DifferenceInOnnxRuntime(pruned, style, samples), 1e-4);
    }
  }
}

}  // namespace
}  // namespace coppice
