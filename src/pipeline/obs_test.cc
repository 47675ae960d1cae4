// The default method from folder to folder: what it tries, what it keeps, and its data.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/model.h"
#include "pipeline/obs_scores.h"
#include "pipeline/pipeline_testing.h"

namespace coppice {
namespace {

class ObsTest : public PipelineTest {
 protected:
  PruneOptions Options(const std::string& model, double keep) {
    PruneOptions options = TinyOptions(model, keep);
    options.replace = true;
    return options;
  }
};

TEST_F(ObsTest, KeepsTheTrialThatIsNearestToTheDenseModel) {
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    PruneOptions options = Options(name, 0.6);
    options.align = "best";
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_LE(report.kept, 0.6);
    // Two allocations, or one where the other promises too little, and the better without
    // alignment.
    const size_t count = report.trials.size();
    ASSERT_TRUE(count == 2 || count == 3) << count;
    EXPECT_EQ(report.trials[0].plan, "levels");
    if (count == 3) {
      EXPECT_EQ(report.trials[1].plan, "fisher");
      EXPECT_LE(report.trials[1].predicted, 3 * report.trials[0].predicted);
    }
    EXPECT_NE(report.trials[count - 1].align, report.trials[0].align);
    const auto best = std::min_element(
        report.trials.begin(), report.trials.end(),
        [](const Trial& a, const Trial& b) { return a.divergence.mean() < b.divergence.mean(); });
    for (const Trial& trial : report.trials) EXPECT_EQ(trial.chosen, &trial == &*best);
    EXPECT_EQ(report.held_out, 3);
    ASSERT_TRUE(report.held_out_divergence.has_value());
  }
}

TEST_F(ObsTest, NarrowsHeadsWhereThatIsAskedFor) {
  PruneOptions options = Options("bert-classification", 0.55);
  options.finer = "all";
  options.forms = {"hf", "onnx"};
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_LE(report.kept, 0.55);
  for (const Trial& trial : report.trials)  // of what competes, "levels" promises most
    EXPECT_GE(trial.predicted, report.trials[0].predicted);

  options.allocation = "levels";
  options.out = folder_.path() / "levels";
  const PruneReport alone = Prune(options, kQuiet);
  ASSERT_TRUE(alone.plan.narrows());
  EXPECT_EQ(alone.after.macs_blocks,
            static_cast<int64_t>(
                std::llround(alone.kept * static_cast<double>(alone.before.macs_blocks))));
  const Model model = LoadModel(options.out);
  EXPECT_TRUE(model.config["coppice"].contains("values"));
  // The plan alone gives the same bytes.
  PruneOptions again = options;
  again.plan = options.out / "coppice.json";
  again.out = folder_.path() / "again";
  again.keep.reset();
  EXPECT_EQ(Prune(again, kQuiet).plan, alone.plan);
  EXPECT_EQ(ReadFile(again.out / "model.safetensors"), ReadFile(options.out / "model.safetensors"));
  again.method = "fisher";
  ExpectError(ExitCode::kUsage, {"narrows heads", "--method fisher"},
              [&] { Prune(again, kQuiet); });
}

TEST_F(ObsTest, LeavesHeadsWholeWhereTheyCannotBeNarrow) {
  PruneOptions options = Options("bert-classification", 0.9);
  options.finer = "values";
  options.uniform = true;
  EXPECT_FALSE(Prune(options, kQuiet).plan.narrows());
}

TEST_F(ObsTest, OneChoiceNeedsNoTrial) {
  PruneOptions options = Options("bert-classification", 0.5);
  options.allocation = "levels";
  options.align = "no";
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_TRUE(report.trials.empty());
  for (const TuneRecord& record : report.repairs) EXPECT_FALSE(record.aligned.has_value());
}

TEST_F(ObsTest, OneRunGivesThePlansOfSeveralBudgets) {
  PruneOptions options = Options("bert-classification", 0.6);
  options.keep.reset();
  options.curve = {0.9, 0.6, 0.3};
  const PruneReport report = Prune(options, kQuiet);
  ASSERT_EQ(report.curve.size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(options.out / "model.safetensors"));
  for (size_t i = 0; i < 3; ++i) {
    const CurvePoint& point = report.curve[i];
    EXPECT_LE(point.got, point.asked);
    EXPECT_GE(point.got, point.asked - 0.1);
    EXPECT_GE(point.loss, i > 0 ? report.curve[i - 1].loss : 0);
    // Applied alone, it gives that share; without a budget.
    PruneOptions apply = options;
    apply.curve.clear();
    apply.plan = options.out / point.file;
    apply.out = folder_.path() / "applied";
    const PruneReport applied = Prune(apply, kQuiet);
    EXPECT_EQ(applied.plan, point.plan);
    EXPECT_DOUBLE_EQ(applied.kept, point.got);
  }
}

TEST_F(ObsTest, ACurveComesWithABudgetToo) {
  PruneOptions options = Options("distilbert-regression", 0.6);
  options.curve = {0.8};
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_TRUE(std::filesystem::exists(options.out / "model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(options.out / "plan-0.8.json"));
  EXPECT_EQ(ResultJson(report)["curve"][0]["plan"], "plan-0.8.json");
}

TEST_F(ObsTest, CurvesNeedTheLevelsOfTheMethod) {
  PruneOptions options = Options("bert-classification", 0.6);
  options.curve = {0.8};
  options.method = "fisher";
  ExpectError(ExitCode::kUsage, {"--curve"}, [&] { Prune(options, kQuiet); });
  options.method = "obs";
  options.curve = {1.5};
  ExpectError(ExitCode::kUsage, {"share", "1.5"}, [&] { Prune(options, kQuiet); });
  options.curve.clear();
  options.keep.reset();
  ExpectError(ExitCode::kUsage, {"budget"}, [&] { Prune(options, kQuiet); });
}

TEST_F(ObsTest, RoundsCompeteWithThePlanTheyStartedFrom) {
  PruneOptions options = Options("roberta-base", 0.5);
  options.rounds = 2;
  options.allocation = "levels";
  const PruneReport report = Prune(options, kQuiet);
  ASSERT_EQ(report.trials.size(), 3u);
  EXPECT_EQ(report.trials[1].plan, "levels, round 1");
  EXPECT_EQ(report.trials[2].plan, "levels, round 2");
  EXPECT_LE(report.kept, 0.5);
}

TEST_F(ObsTest, FewExamplesWork) {
  PruneOptions options = Options("bert-classification", 0.5);
  for (const int64_t samples : {1, 2}) {
    options.samples = samples;
    EXPECT_LE(Prune(options, kQuiet).kept, 0.5);
    options.rounds = 1;  // with nothing held out there is nothing to measure
    EXPECT_LE(Prune(options, kQuiet).kept, 0.5);
    options.rounds = 0;
  }
}

// Without the drift there are no two streams to align, and nothing to judge trials by.
TEST_F(ObsTest, OtherTargetsAlignNothing) {
  PruneOptions options = Options("bert-classification", 0.6);
  for (const std::string target : {"own", "dense"}) {
    SCOPED_TRACE(target);
    options.target = target;
    options.align = "no";
    const PruneReport plain = Prune(options, kQuiet);
    const std::string weights = ReadFile(options.out / "model.safetensors");
    options.align = "best";
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_EQ(report.plan, plain.plan);
    EXPECT_EQ(ReadFile(options.out / "model.safetensors"), weights);
    EXPECT_EQ(report.trials.size(), plain.trials.size());
    EXPECT_TRUE(target == "own" || report.trials.empty());
  }
}

// A plan that competes may fail where the levels do not.
TEST_F(ObsTest, CompetitorsThatCannotMeetTheBudgetAreLeftOut) {
  PruneOptions options = Options("bert-classification", 0.05);
  options.budget = CostKind::kParameters;
  options.finer = "all";
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_LE(report.kept, 0.05);
  EXPECT_GT(report.kept, 0);
}

TEST_F(ObsTest, SeveralFilesGiveTheirShares) {
  PruneOptions options = Options("bert-classification", 0.5);
  const std::filesystem::path other = Write("other.jsonl", [] {
    std::string text;
    for (int i = 0; i < 40; ++i)
      text += fmt::format("{{\"text\": \"The dog number {}.\", \"label\": 1}}\n", i);
    return text;
  }());
  options.data.push_back({other, 3});
  options.samples = 16;
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_EQ(report.samples + report.held_out, 18);  // a quarter of one, three of the other
  EXPECT_FALSE(report.data_sha256.empty());
}

TEST_F(ObsTest, BadDataPartsAreRefused) {
  for (const std::string text : {"a.txt=0", "a.txt=-1", "a.txt=x", "a.txt="})
    ExpectError(ExitCode::kUsage, {"weight", text}, [&] { ParseDataPart(text); });
  EXPECT_DOUBLE_EQ(ParseDataPart("a.txt=0.25").weight, 0.25);
  EXPECT_EQ(ParseDataPart("a.txt=0.25").file, "a.txt");
  const std::filesystem::path odd = Write("x=1", "The cat sat.");
  EXPECT_EQ(ParseDataPart(odd.string()).file, odd);
  PruneOptions options = Options("bert-classification", 0.5);
  options.data = {{kSelf}};
  ExpectError(ExitCode::kUsage, {"--data self"}, [&] { Prune(options, kQuiet); });
}

}  // namespace
}  // namespace coppice
