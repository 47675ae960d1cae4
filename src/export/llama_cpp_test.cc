// Written GGUF files in stock llama.cpp: its log-probabilities of a text are those of our forward
// pass. Needs node and what scripts/fetch_llama_cpp installs; SmolLM2 for the real ones.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <memory>
#include <optional>

#include "eval/language_model.h"
#include "export/gguf.h"
#include "model/decoder_testing.h"
#include "shrink/shrink.h"

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

// What a command prints; nothing when it fails.
std::optional<std::string> RunCommand(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  if (pipe == nullptr) return std::nullopt;
  std::string output;
  char part[4096];
  for (size_t got = 0; (got = std::fread(part, 1, sizeof(part), pipe.get())) > 0;)
    output.append(part, got);
  if (output.empty()) return std::nullopt;
  return output;
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
}

}  // namespace
}  // namespace coppice
