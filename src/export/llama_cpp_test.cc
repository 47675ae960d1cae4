// Written GGUF files in stock llama.cpp: its log-probabilities of a text are those of our forward
// pass. Needs node and what scripts/fetch_llama_cpp installs; SmolLM2 for the real ones.
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "eval/language_model.h"
#include "export/gguf.h"
#include "export/oracle_testing.h"
#include "model/decoder_testing.h"
#include "shrink/shrink.h"
#include "tokenize/tokenizer.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path LlamaCpp() { return SourceDir() / "build" / "llama_cpp" / "next_token.mjs"; }

// Why llama.cpp cannot be run here; empty where it can.
std::string Missing() {
  if (!fs::exists(LlamaCpp())) return "needs scripts/fetch_llama_cpp";
  return std::system("node --version >/dev/null 2>&1") == 0 ? "" : "needs node";
}

// llama.cpp's log-probability of each next token: (T - 1) float64; undefined when it fails.
at::Tensor TheirLogProbabilities(const fs::path& file, const std::vector<int64_t>& ids) {
  const auto output = RunCommand(
      fmt::format("node '{}' '{}' '{}'", LlamaCpp().string(), file.string(), json(ids).dump()));
  if (!output) return {};
  return Numbers(json::parse(output->substr(output->find('{')))["logp"]);
}

at::Tensor OurLogProbabilities(const Model& model, const std::vector<int64_t>& ids) {
  const Batch batch = GoldenBatch({{{"ids", ids}}}, 0);
  return NextTokenLogProbabilities(Outputs(Bind(model, {}), batch), batch)[0].to(at::kDouble);
}

// Writes the model and holds the file, in both programs, against the model itself.
void ExpectSameInLlamaCpp(const Model& model, GgmlType type, const std::vector<int64_t>& ids,
                          double tolerance) {
  const TempFolder folder;
  WriteGgufModel(model, type, folder.path());
  const at::Tensor theirs = TheirLogProbabilities(folder.path() / "model.gguf", ids);
  ASSERT_TRUE(theirs.defined()) << "llama.cpp failed";
  ASSERT_EQ(theirs.numel() + 1, static_cast<int64_t>(ids.size()));
  EXPECT_LT(MaxDifference(theirs, OurLogProbabilities(LoadModel(folder.path()), ids)), tolerance);
  EXPECT_LT(MaxDifference(theirs, OurLogProbabilities(model, ids)), tolerance);
}

TEST(SlowLlamaCpp, RunsTheTinyFilesAndWhatIsWrittenOfThem) {
  if (!Missing().empty()) GTEST_SKIP() << Missing();
  for (const std::string name : {"llama2.gguf", "tied.gguf", "biases.gguf", "deci.gguf"}) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const auto ids = tiny.cases[3]["ids"].get<std::vector<int64_t>>();
    const at::Tensor theirs = TheirLogProbabilities(TinyDecoderPath(name), ids);
    ASSERT_TRUE(theirs.defined());
    EXPECT_LT(MaxDifference(theirs, OurLogProbabilities(tiny.model, ids)), 0.02);
    ExpectSameInLlamaCpp(tiny.model, GgmlType::kF32, ids, 0.02);
  }
}

// The tokens that llama.cpp makes of texts with a file's vocabulary.
json TheirTokens(const fs::path& file, const json& texts) {
  const auto output = RunCommand(fmt::format(
      "node '{}' '{}' '{}' '{}'", (SourceDir() / "tools" / "llama_cpp_tokens.mjs").string(),
      (LlamaCpp().parent_path() / "node_modules" / "node-llama-cpp").string(), file.string(),
      texts.dump()));
  return output ? json::parse(output->substr(output->find('{')))["ids"] : json();
}

// The mean difference of next tokens' log-probabilities between a file and what llama.cpp's own
// quantiser makes of it; nothing when that fails.
std::optional<double> ChangeWhenQuantised(const fs::path& file, const std::string& type,
                                          const std::vector<int64_t>& ids) {
  const TempFolder folder;
  const fs::path quantised = folder.path() / "quantised.gguf";
  RunCommand(fmt::format(
      "python3 '{}' '{}' '{}' '{}' {} 2>&1", (SourceDir() / "tools" / "quantize_gguf.py").string(),
      LlamaCpp().parent_path().string(), file.string(), quantised.string(), type));
  const at::Tensor before = TheirLogProbabilities(file, ids);
  const at::Tensor after = TheirLogProbabilities(quantised, ids);
  if (!before.defined() || !after.defined()) return std::nullopt;
  return (after - before).abs().mean().item<double>();
}

// The first units of every layer: all, as many everywhere, and each layer its own number.
std::vector<Model> Shapes(const Model& model) {
  std::vector<Model> models = {model};
  for (const int64_t step : {int64_t{0}, int64_t{5}}) {
    Plan plan = FullPlan(UnitCounts(model.spec));
    for (size_t i = 0; i < plan.kept.size(); ++i)
      plan.kept[i].resize(i % 2 == 0 ? (step == 0 || i > 0 ? 1 : 2)
                                     : 32 - i * static_cast<size_t>(step));
    models.push_back(Shrink(model, plan));
  }
  return models;
}

// With vocabularies made of tokenizer.json.
TEST(SlowLlamaCpp, RunsFoldersInEveryShape) {
  if (!Missing().empty()) GTEST_SKIP() << Missing();
  const json texts = {"The cat sat.", "a<|im_end|>b 123 \n\n do not", "Caf\u00e9"};
  for (const std::string name : {"llama3", "linear", "wide-heads"}) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const auto ids = tiny.cases[3]["ids"].get<std::vector<int64_t>>();
    std::vector<Model> models = Shapes(tiny.model);
    if (name != "llama3") models.resize(1);  // each takes seconds
    for (const Model& model : models) ExpectSameInLlamaCpp(model, GgmlType::kF32, ids, 0.02);
  }
  const TempFolder folder;
  const Model model = LoadModel(TinyDecoderPath("llama2"));
  WriteGgufModel(model, GgmlType::kF32, folder.path());
  const Tokenizer tokenizer = Tokenizer::Load(TinyDecoderPath("llama2") / "tokenizer.json");
  json expected = json::array();
  for (const json& text : texts) {
    json ids = json::array();
    for (const Token& token : tokenizer.Tokenize(text.get<std::string>())) ids.push_back(token.id);
    expected.push_back(ids);
  }
  EXPECT_EQ(TheirTokens(folder.path() / "model.gguf", texts), expected);
}

TEST(SlowLlamaCpp, QuantisesFoldersInEveryShape) {
  if (!Missing().empty()) GTEST_SKIP() << Missing();
  const TinyDecoder tiny("llama3");
  const auto ids = tiny.cases[3]["ids"].get<std::vector<int64_t>>();
  for (const Model& model : Shapes(tiny.model)) {
    const TempFolder folder;
    WriteGgufModel(model, GgmlType::kF16, folder.path());
    for (const auto& [type, tolerance] : {std::pair{"Q8_0", 0.1}, std::pair{"Q4_K_M", 1.0}}) {
      const auto change = ChangeWhenQuantised(folder.path() / "model.gguf", type, ids);
      ASSERT_TRUE(change) << type;
      EXPECT_LT(*change, tolerance) << type;
      EXPECT_GT(*change, 0) << type;
    }
  }
}

// So many channels of a layer, spread evenly.
std::vector<int64_t> Spread(int64_t units, int64_t width) {
  std::vector<int64_t> kept;
  for (int64_t k = 0; k < width; ++k) kept.push_back(k * units / width);
  return kept;
}

class SlowLlamaCppReal : public testing::Test {
 protected:
  void SetUp() override {
    const json golden = ReadJson(SourceDir() / "testdata" / "smollm2_golden.json");
    const fs::path file = RealModels() / "smollm2" / golden["file"].get<std::string>();
    if (!Missing().empty()) GTEST_SKIP() << Missing();
    if (!fs::exists(file)) GTEST_SKIP() << "needs the model " << file;
    model_ = LoadModel(file);
    ids_ = golden["ids"].get<std::vector<int64_t>>();
  }
  Model model_;
  std::vector<int64_t> ids_;
};

TEST_F(SlowLlamaCppReal, RunsTheDenseModel) {
  ExpectSameInLlamaCpp(model_, GgmlType::kF32, ids_, 0.02);
}

// llama.cpp keeps keys and values in float16, which a model that is pruned at random feels: these
// plans are mild, so that what is left of that is below 0.01.
TEST_F(SlowLlamaCppReal, RunsAUniformModel) {
  Plan plan = FullPlan(UnitCounts(model_.spec));
  for (int64_t layer = 0; layer < model_.spec.layers; ++layer) {
    const auto at = static_cast<size_t>(2 * layer);
    std::erase(plan.kept[at], (layer + 1) % 3);
    plan.kept[at + 1] = Spread(1536, 1504);
  }
  const Model smaller = Shrink(model_, plan);
  EXPECT_EQ(smaller.config["num_attention_heads"], 6);
  EXPECT_FALSE(smaller.config.contains("coppice"));
  ExpectSameInLlamaCpp(smaller, GgmlType::kF32, ids_, 0.02);
}

// Layers of all shapes; one without attention, one without anything.
TEST_F(SlowLlamaCppReal, RunsAModelWhoseLayersDiffer) {
  const std::vector<int64_t> widths = {1536, 1408, 1504, 1280, 992};
  const std::map<int64_t, std::vector<int64_t>> groups = {
      {5, {0, 2}}, {11, {1}}, {14, {}}, {17, {2}}, {20, {}}, {22, {0, 1}}, {26, {0, 2}}};
  Plan plan = FullPlan(UnitCounts(model_.spec));
  for (int64_t layer = 0; layer < model_.spec.layers; ++layer) {
    const auto at = static_cast<size_t>(2 * layer);
    if (groups.count(layer) > 0) plan.kept[at] = groups.at(layer);
    plan.kept[at + 1] = Spread(1536, widths[static_cast<size_t>(layer) % widths.size()]);
  }
  plan.kept[2 * 9 + 1] = Spread(1536, 96);
  plan.kept[2 * 20 + 1].clear();
  const Model smaller = Shrink(model_, plan);
  ASSERT_TRUE(smaller.config.contains("coppice"));
  ExpectSameInLlamaCpp(smaller, GgmlType::kF32, ids_, 0.02);
  ExpectSameInLlamaCpp(smaller, GgmlType::kF16, ids_, 0.02);
  const TempFolder folder;
  WriteGgufModel(smaller, GgmlType::kF16, folder.path());
  // A model that was cut without repair: it is unsure of most tokens, and rounding moves it more.
  for (const auto& [type, tolerance] : {std::pair{"Q8_0", 0.2}, std::pair{"Q4_K_M", 1.0}}) {
    const auto change = ChangeWhenQuantised(folder.path() / "model.gguf", type, ids_);
    ASSERT_TRUE(change) << type;
    EXPECT_LT(*change, tolerance) << type;
  }
}

}  // namespace
}  // namespace coppice
