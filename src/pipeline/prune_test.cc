// Prune() from folder to folder on tiny models: budgets, seeds, and what a failure leaves behind.
#include "pipeline/prune.h"

#include <gtest/gtest.h>

#include <cmath>

#include "pipeline/pipeline_testing.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

using nlohmann::json;

class PruneTest : public PipelineTest {
 protected:
  PruneOptions Options(const std::string& model, double keep, const std::string& out = "out") {
    PruneOptions options = TinyOptions(model, keep, out);
    options.samples = 48;
    return options;
  }
  std::string Weights(const std::string& out) const {
    return ReadFile(folder_.path() / out / "model.safetensors");
  }
  // Expects a failure that names every part and leaves the folder as it is.
  void ExpectFails(ExitCode code, const std::vector<std::string>& parts,
                   const PruneOptions& options) {
    const std::vector<std::string> before = folder_.Names();
    ExpectError(code, parts, [&] { Prune(options, kQuiet); });
    EXPECT_EQ(folder_.Names(), before);
  }
};

constexpr const char* kModels[] = {"bert-classification", "distilbert-regression", "roberta-base",
                                   "mpnet-question-answering"};

TEST_F(PruneTest, MeetsEveryBudgetAndSaysSo) {
  for (const std::string name : kModels) {
    for (const CostKind kind : {CostKind::kMacs, CostKind::kParameters}) {
      for (const CostScope scope : {CostScope::kBlocks, CostScope::kModel}) {
        const bool macs = kind == CostKind::kMacs, blocks = scope == CostScope::kBlocks;
        SCOPED_TRACE(fmt::format("{} {} {}", name, macs ? "macs" : "params", blocks));
        PruneOptions options = Options(name, 0.7);
        options.budget = kind;
        options.scope = scope;
        options.replace = true;
        const PruneReport report = Prune(options, kQuiet);
        const auto cost = [&](const ModelSize& size) {
          return static_cast<double>(macs ? (blocks ? size.macs_blocks : size.macs)
                                          : (blocks ? size.parameters_blocks : size.parameters));
        };
        EXPECT_LE(report.kept, 0.7);
        EXPECT_GT(report.kept, 0.6);
        EXPECT_NEAR(cost(report.after) / cost(report.before), report.kept, 1e-12);
        const Model pruned = LoadModel(options.out);
        for (size_t i = 0; i < report.plan.kept.size(); ++i) {
          EXPECT_EQ(pruned.spec.sub_layers[i].units,
                    static_cast<int64_t>(report.plan.kept[i].size()));
        }
        EXPECT_EQ(MeasureSize(pruned, report.tokens).parameters, report.after.parameters);
      }
    }
  }
  EXPECT_EQ(folder_.Names(), (std::vector<std::string>{"data.jsonl", "out"}));
}

TEST_F(PruneTest, WritesAModelFolderAndItsRecord) {
  const PruneReport report = Prune(Options("bert-classification", 0.5), kQuiet);
  const auto out = folder_.path() / "out";
  for (const std::string name : {"tokenizer.json", "tokenizer_config.json", "vocab.txt"})
    EXPECT_EQ(ReadFile(out / name), ReadFile(TinyFolder("bert-classification") / name));
  const json record = ReadJson(out / "coppice.json");
  EXPECT_EQ(record["plan"]["sub_layers"].get<std::vector<std::vector<int64_t>>>(),
            report.plan.kept);
  EXPECT_EQ(record["budget"]["asked"], 0.5);
  EXPECT_EQ(record["budget"]["got"], report.kept);
  EXPECT_EQ(record["options"]["seed"], 0);
  EXPECT_EQ(record["scores"]["labels"], "probe");
  EXPECT_EQ(record["sha256"]["data"], Sha256HexOfFile(folder_.path() / "data.jsonl"));
  EXPECT_EQ(record["sha256"]["model"],
            Sha256HexOfFile(TinyFolder("bert-classification") / "model.safetensors"));
  const json config = ReadJson(out / "config.json");
  EXPECT_EQ(config["coppice"]["channels"][1], report.plan.kept[3].size());
  const json result = ResultJson(report);
  EXPECT_EQ(result["macs"]["after"], report.after.macs_blocks);
  EXPECT_EQ(result["params"]["before"], report.before.parameters);
  EXPECT_FALSE(result.contains("eval"));
}

TEST_F(PruneTest, WritesAndProvesEveryFormThatIsAskedFor) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 0.5);
    options.method = "fisher";
    options.forms = {"hf", "onnx"};
    options.replace = true;
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_TRUE(std::filesystem::exists(options.out / "model.onnx"));
    LoadModel(options.out);
    ASSERT_EQ(report.forms.size(), 2u);
    EXPECT_EQ(report.forms[0].max_difference, 0);
    if (report.forms[1].max_difference) {
      EXPECT_LT(*report.forms[1].max_difference, 1e-4);
    }
    const json record = ReadJson(options.out / "coppice.json");
    EXPECT_EQ(record["forms"], json(ProofsJson(report.forms)));
    EXPECT_EQ(record["forms"][0]["form"], "hf");
    EXPECT_EQ(record["forms"][0]["samples"], 8);
  }
}

TEST_F(PruneTest, SameSeedSameBytes) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    std::vector<PruneReport> reports;
    for (const std::string out : {"first", "second", "third"}) {
      PruneOptions options = Options(name, 0.5, out);
      options.replace = true;
      options.samples = 10;  // of 32: the seed chooses
      options.seed = out == "third" ? 1 : 7;
      reports.push_back(Prune(options, kQuiet));
    }
    EXPECT_EQ(Weights("first"), Weights("second"));
    EXPECT_EQ(reports[0].plan, reports[1].plan);
    EXPECT_NE(Weights("first"), Weights("third"));
  }
}

TEST_F(PruneTest, DrawsLabelsWhereTheDataHasNone) {
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base"}) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 0.5);
    options.data = {
        {Write("plain.jsonl", "{\"text\": \"The cat sat.\"}\n{\"text\": \"A dog ran!\"}\n")}};
    options.replace = true;
    EXPECT_EQ(Prune(options, kQuiet).labels, LabelSource::kProbe);
    options.method = "fisher";
    EXPECT_EQ(Prune(options, kQuiet).labels, LabelSource::kModel);
    EXPECT_EQ(ReadJson(options.out / "coppice.json")["scores"]["labels"], "model");
    options.labels = "data";
    ExpectError(ExitCode::kBadInput, {"plain.jsonl", "not every example has a label"},
                [&] { Prune(options, kQuiet); });
  }
  PruneOptions paragraphs = Options("bert-classification", 0.5);
  paragraphs.method = "fisher";  // holds no samples out
  paragraphs.data = {{Write("plain.txt", "The cat sat.\nOn it.\n\nThe dog ran.\n\n\nWho saw?")}};
  paragraphs.replace = true;
  EXPECT_EQ(Prune(paragraphs, kQuiet).samples, 3);
}

TEST_F(PruneTest, RepairsAsAsked) {
  for (const Repair repair :
       {Repair::kNone, Repair::kBias, Repair::kScales, Repair::kLeastSquares}) {
    PruneOptions options = Options("bert-question-answering", 0.5, RepairName(repair));
    options.repair = RepairName(repair);
    const PruneReport report = Prune(options, kQuiet);
    ASSERT_EQ(report.repairs.size(), repair == Repair::kNone ? 0u : 4u);
    if (repair == Repair::kBias) {
      EXPECT_EQ(report.repairs[2].repair, Repair::kBias);
    }
  }
  EXPECT_NE(Weights("none"), Weights("bias"));
  EXPECT_NE(Weights("bias"), Weights("scales"));
  PruneOptions unknown = Options("bert-question-answering", 0.5);
  unknown.repair = "magic";
  ExpectFails(ExitCode::kUsage, {"--repair", "magic"}, unknown);
}

TEST_F(PruneTest, RearrangesOnlyWhenAskedTo) {
  int64_t swaps = 0;
  const auto prune = [&](const std::string& model, bool rearrange) {
    PruneOptions options = Options(model, 0.5);
    options.method = "fisher";
    options.replace = true;
    options.rearrange = rearrange;
    return Prune(options, kQuiet);
  };
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const PruneReport on = prune(name, true);
    const PruneReport off = prune(name, false);
    swaps += on.swaps;
    EXPECT_EQ(off.swaps, 0);
    EXPECT_EQ(on.swaps == 0, on.plan == off.plan);
  }
  EXPECT_GT(swaps, 0);
}

TEST_F(PruneTest, CalibratesInBfloat16) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 0.5);
    options.dtype = "bfloat16";
    options.replace = true;
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_EQ(report.dtype, "bfloat16");
    EXPECT_LE(report.kept, 0.5);
    for (const auto& [tensor, value] : LoadModel(options.out).tensors)
      EXPECT_EQ(value.scalar_type(), at::kFloat) << tensor;  // as it was
  }
}

TEST_F(PruneTest, AsPublished) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 0.7, "published-" + name);
    options.method = "fisher";
    options.as_published = true;
    options.samples = 100;
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_EQ(report.samples, 100);  // more than there are: drawn with replacement
    EXPECT_LE(report.kept, 0.7);
    ASSERT_EQ(report.repairs.size(), 4u);
    EXPECT_EQ(report.repairs[0].repair, Repair::kNone);
    EXPECT_NO_THROW(LoadModel(options.out));
  }
}

TEST_F(PruneTest, UniformKeepsAllHeadsAndOneWidth) {
  PruneOptions options = Options("mpnet-classification", 0.7);
  options.uniform = true;
  const Plan plan = Prune(options, kQuiet).plan;
  EXPECT_EQ(plan.kept[0].size(), 4u);
  EXPECT_EQ(plan.kept[2].size(), 4u);
  EXPECT_EQ(plan.kept[1].size(), plan.kept[3].size());
  EXPECT_LT(plan.kept[1].size(), 64u);
}

TEST_F(PruneTest, AppliesASavedPlan) {
  const PruneReport first = Prune(Options("bert-classification", 0.5, "first"), kQuiet);
  PruneOptions options = Options("bert-classification", 1, "second");
  options.plan = folder_.path() / "first" / "coppice.json";
  const PruneReport second = Prune(options, kQuiet);
  EXPECT_EQ(second.plan, first.plan);
  EXPECT_EQ(second.kept, first.kept);
  EXPECT_EQ(Weights("first"), Weights("second"));

  options.out = folder_.path() / "third";
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"{\"plan\": 3}", "not a plan"},
           {"{\"sub_layers\": [[0], [1]]}", "another model"},
           {"{\"sub_layers\": [[0, 9], [], [], []]}", "found 9"},
           {"{\"sub_layers\": [[1, 0], [], [], []]}", "found 0"},
           {"{\"sub_layers\": [[0], ", "plan.json"},
           {"", "plan.json"}}) {
    SCOPED_TRACE(text);
    options.plan = Write("plan.json", text);
    ExpectFails(ExitCode::kBadInput, {part, "plan.json"}, options);
  }
  options.plan = folder_.path() / "no such plan";
  ExpectFails(ExitCode::kBadInput, {"no such plan"}, options);
}

TEST_F(PruneTest, PrunesWhatItPruned) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const PruneReport first = Prune(Options(name, 0.6, "once-" + name), kQuiet);
    PruneOptions options = Options(name, 0.6, "twice-" + name);
    options.model = folder_.path() / ("once-" + name);
    const PruneReport second = Prune(options, kQuiet);
    EXPECT_EQ(second.before.parameters, first.after.parameters);
    EXPECT_LE(second.after.macs_blocks, 0.36 * static_cast<double>(first.before.macs_blocks));
    EXPECT_EQ(UnitCounts(LoadModel(options.out).spec).size(), 4u);
  }
}

TEST_F(PruneTest, MeasuresBeforeAndAfter) {
  for (const std::string name : {"bert-classification", "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 1, "out-" + name);
    options.eval = options.data[0].file;
    options.repair = "none";
    const PruneReport report = Prune(options, kQuiet);
    ASSERT_TRUE(report.eval_before && report.eval_after);
    EXPECT_EQ(report.eval_before->value, report.eval_after->value);  // nothing was cut
    const json result = ResultJson(report);
    EXPECT_EQ(result["eval"]["before"], report.eval_before->value);
    EXPECT_EQ(result["eval"].contains("exact_match"), name == "mpnet-question-answering");
  }
}

TEST_F(PruneTest, RefusesAnOutputFolderInUse) {
  PruneOptions options = Options("bert-classification", 0.5);
  std::filesystem::create_directories(options.out);
  WriteFile(options.out / "precious.txt", "keep me");
  ExpectFails(ExitCode::kUsage, {options.out.string(), "--force"}, options);
  EXPECT_EQ(ReadFile(options.out / "precious.txt"), "keep me");
  options.model = folder_.path() / "nowhere";  // refused before anything is read
  ExpectFails(ExitCode::kUsage, {"--force"}, options);
  options.model = TinyFolder("bert-classification");
  options.replace = true;
  Prune(options, kQuiet);
  EXPECT_FALSE(std::filesystem::exists(options.out / "precious.txt"));
  EXPECT_EQ(folder_.Names(), (std::vector<std::string>{"data.jsonl", "out"}));
}

TEST_F(PruneTest, RefusesBudgetsThatCannotBeMet) {
  PruneOptions options = Options("bert-classification", 0.05);
  options.scope = CostScope::kModel;
  options.budget = CostKind::kParameters;
  ExpectFails(ExitCode::kBudget, {"ask to keep more"}, options);
  options = Options("bert-classification", 1e-6);
  ExpectFails(ExitCode::kBudget, {"ask to keep more"}, options);
  options = Options("bert-classification", 0.2);
  options.uniform = true;
  ExpectFails(ExitCode::kBudget, {"uniform"}, options);
  for (const double keep : {0.0, -1.0, 1.01, std::nan("")})
    ExpectFails(ExitCode::kUsage, {"share to keep"}, Options("bert-classification", keep));
}

}  // namespace
}  // namespace coppice
