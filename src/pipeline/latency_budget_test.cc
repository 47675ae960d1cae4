// Latency budgets from end to end, with a stopwatch that computes times: no clock is asked.
#include "pipeline/latency_budget.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "latency/latency_testing.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr int64_t kWhole = 2 * (4 + 64);  // units of the tiny models

class LatencyBudgetTest : public PipelineTest {
 protected:
  PruneOptions Options(const std::string& method, double keep) {
    PruneOptions options = TinyOptions("bert-classification", keep);
    options.replace = true;
    options.method = method;
    options.budget = CostKind::kLatency;
    options.samples = 32;
    options.latency.tokens = 16;
    options.latency.stopwatch = FakeStopwatch(2, kWhole, 0.0, &calls_);
    return options;
  }
  int calls_ = 0;
};

TEST_F(LatencyBudgetTest, EveryMethodMeetsIt) {
  for (const std::string method : {"obs", "fisher", "numerical", "flap", "wanda", "magnitude"}) {
    SCOPED_TRACE(method);
    const PruneReport report = Prune(Options(method, 0.7), kQuiet);
    const LatencyResult& result = *report.latency->result;
    EXPECT_LE(result.share(), 0.7 + 1e-6);
    EXPECT_GT(result.share(), 0.5);
    EXPECT_NEAR(result.predicted_ms, result.pruned.median, 1e-3);
    EXPECT_EQ(report.kept, result.share());
  }
}

TEST_F(LatencyBudgetTest, ChannelsComeInWidthsThatAreFast) {
  for (const std::string method : {"obs", "fisher"}) {
    const PruneReport report = Prune(Options(method, 0.6), kQuiet);
    for (const size_t i : {1U, 3U}) EXPECT_EQ(report.plan.kept[i].size() % 16, 0U);
  }
}

// Between the whole model and none of it everything takes 30 % longer than the table can know.
TEST_F(LatencyBudgetTest, PlansThatWereRunCorrectTheTable) {
  for (const std::string method : {"obs", "fisher"}) {
    SCOPED_TRACE(method);
    PruneOptions options = Options(method, 0.7);
    options.latency.stopwatch = [](const std::vector<Model>& models) {
      return FakeStopwatch(2, models.size() <= 4 ? kWhole : 0, 0.3)(models);  // the probes are more
    };
    const PruneReport report = Prune(options, kQuiet);
    const std::vector<LatencyRound>& rounds = report.latency->rounds;
    ASSERT_GE(rounds.size(), 2U);
    EXPECT_GT(rounds[0].measured_ms, 0.7 * report.latency->table.dense_ms);
    EXPECT_LE(report.latency->result->share(), 0.7 + 1e-6);
    EXPECT_GT(report.latency->result->predicted_ms, report.latency->result->table_ms);
  }
}

// Heads take so long that the table's plan keeps others than that of the MACs.
Stopwatch SlowHeads() {
  return [](const std::vector<Model>& models) {
    std::vector<Timing> timings;
    for (const Model& model : models) {
      double ms = 2;
      for (const SubLayerSpec& sub : model.spec.sub_layers)
        ms += (sub.kind == UnitKind::kHead ? 4 : 0.02) * static_cast<double>(sub.units);
      timings.push_back({ms, ms, ms, 7});
    }
    return timings;
  };
}

std::vector<std::string> PlanNames(const PruneReport& report) {
  std::vector<std::string> names;
  for (const Trial& trial : report.trials) names.push_back(trial.plan);
  return names;
}

// How many different plans were run.
size_t PlansRun(const PruneReport& report) {
  std::vector<Plan> plans;
  for (const LatencyRound& round : report.latency->rounds) {
    if (std::find(plans.begin(), plans.end(), round.plan) == plans.end())
      plans.push_back(round.plan);
  }
  return plans.size();
}

TEST_F(LatencyBudgetTest, ThePlanByMacsCompetesInTheSameTime) {
  PruneOptions options = Options("obs", 0.5);
  options.latency.stopwatch = SlowHeads();
  const PruneReport report = Prune(options, kQuiet);
  const std::vector<std::string> names = PlanNames(report);
  ASSERT_GE(names.size(), 2U);
  EXPECT_EQ(names.front(), "levels");
  EXPECT_EQ(std::count(names.begin(), names.end(), "levels at MACs"), 1);
  for (const Trial& trial : report.trials) {
    for (const Trial& other : report.trials)
      EXPECT_TRUE(!trial.chosen || trial.divergence.mean() <= other.divergence.mean());
  }
  const LatencyBudget& latency = *report.latency;
  EXPECT_EQ(PlansRun(report), names.size());  // the table is right, so that plans stay the same
  for (const LatencyRound& round : latency.rounds)
    EXPECT_LE(round.predicted_ms, 0.5 * latency.table.dense_ms);
}

TEST_F(LatencyBudgetTest, ThePlanByMacsIsNotRunWhereNothingCompetes) {
  PruneOptions options = Options("obs", 0.5);
  options.latency.stopwatch = SlowHeads();
  const size_t all = PlansRun(Prune(options, kQuiet));
  PruneOptions no_repair = options;
  no_repair.repair = "none";
  EXPECT_EQ(PlansRun(Prune(no_repair, kQuiet)), all - 1);
  PruneOptions levels = options;
  levels.allocation = "levels";
  const PruneReport report = Prune(levels, kQuiet);
  EXPECT_TRUE(report.trials.empty());
  EXPECT_EQ(PlansRun(report), 1U);
}

// At keep 1 both are the whole model.
TEST_F(LatencyBudgetTest, ThePlanByMacsIsNotTriedTwice) {
  PruneOptions options = Options("obs", 1);
  const PruneReport report = Prune(options, kQuiet);
  const std::vector<std::string> names = PlanNames(report);
  EXPECT_EQ(std::count(names.begin(), names.end(), "levels at MACs"), 0);
  EXPECT_EQ(report.plan, FullPlan(report.units));
}

TEST_F(LatencyBudgetTest, AKeptTableIsNotMeasuredAgain) {
  PruneOptions options = Options("fisher", 0.7);
  options.latency.table = folder_.path() / "tables" / "mine.json";
  EXPECT_FALSE(Prune(options, kQuiet).latency->reused);
  calls_ = 0;
  const PruneReport again = Prune(options, kQuiet);
  EXPECT_TRUE(again.latency->reused);
  const int with_table = calls_;
  options.latency.remeasure = true;
  calls_ = 0;
  EXPECT_FALSE(Prune(options, kQuiet).latency->reused);
  EXPECT_EQ(calls_, with_table + 1);
  options.latency.remeasure = false;
  options.latency.tokens = 17;
  ExpectError(ExitCode::kBadInput,
              {"mine.json", "not a latency table of this model", "--remeasure"},
              [&] { Prune(options, kQuiet); });
}

TEST_F(LatencyBudgetTest, SaysWhatWasPredictedAndWhatWasMeasured) {
  const PruneReport report = Prune(Options("fisher", 0.7), kQuiet);
  const json result = ResultJson(report);
  EXPECT_EQ(result["budget"]["kind"], "latency");
  EXPECT_EQ(result["budget"]["of"], "model");
  EXPECT_EQ(result["budget"]["asked"], 0.7);
  EXPECT_EQ(result["budget"]["got"], report.kept);
  const json& latency = result["latency"];
  EXPECT_EQ(latency["batch"], 1);
  EXPECT_EQ(latency["tokens"], 16);
  EXPECT_EQ(latency["dense"]["median_ms"], report.latency->result->dense.median);
  EXPECT_EQ(latency["pruned"]["repeats"], 7);
  EXPECT_EQ(latency["share"], report.kept);
  EXPECT_EQ(latency["rounds"].size(), report.latency->rounds.size());
  EXPECT_EQ(ReadJson(folder_.path() / "out" / "coppice.json")["latency"], latency);
  const std::string text = LatencyText(*report.latency);
  EXPECT_NE(text.find("coppice, batch 1 x 16"), std::string::npos) << text;
  EXPECT_NE(text.find("predicted"), std::string::npos) << text;
}

TEST_F(LatencyBudgetTest, ASavedPlanIsRunAndNotSearched) {
  const PruneReport first = Prune(Options("obs", 0.7), kQuiet);
  PruneOptions options = Options("fisher", 0.9);
  std::filesystem::rename(folder_.path() / "out", folder_.path() / "first");
  options.plan = folder_.path() / "first" / "coppice.json";
  const PruneReport again = Prune(options, kQuiet);
  EXPECT_EQ(again.plan, first.plan);
  EXPECT_TRUE(again.latency->rounds.empty());
  EXPECT_NEAR(again.kept, first.kept, 1e-12);
}

// The published search takes the table as it is.
TEST_F(LatencyBudgetTest, AsPublished) {
  PruneOptions options = Options("fisher", 0.8);
  options.as_published = true;
  const PruneReport report = Prune(options, kQuiet);
  EXPECT_TRUE(report.latency->rounds.empty());
  EXPECT_LT(report.kept, 1);
  options.method = "numerical";
  ExpectError(ExitCode::kUsage, {"no published search"}, [&] { Prune(options, kQuiet); });
}

TEST_F(LatencyBudgetTest, RefusesWhatCannotBe) {
  PruneOptions options = Options("fisher", 0.5);
  options.latency.stopwatch = FakeStopwatch(/*fixed=*/100);
  ExpectError(ExitCode::kBudget,
              {"below what pruning cannot take away", "batch 1 x 16", "larger --batch"},
              [&] { Prune(options, kQuiet); });
  options = Options("fisher", 0.5);
  options.latency.tokens = 65;
  ExpectError(ExitCode::kUsage, {"2 to 64 tokens", "1 of 65"}, [&] { Prune(options, kQuiet); });
  options = Options("magnitude", 0.5);
  options.model = SourceDir() / "testdata" / "tiny-decoders" / "llama3";
  options.latency.runtime = "onnxruntime";
  options.data = {{Write("text.txt", std::string(2000, 'a'))}};
  ExpectError(ExitCode::kUsage, {"--runtime", "language models"}, [&] { Prune(options, kQuiet); });
  options = Options("fisher", 0.5);
  options.latency.runtime = "tflite";
  ExpectError(ExitCode::kUsage, {"unknown runtime"}, [&] { Prune(options, kQuiet); });
  EXPECT_EQ(folder_.Names(), (std::vector<std::string>{"data.jsonl", "text.txt"}));
}

TEST_F(LatencyBudgetTest, SaysWhereNothingIsGained) {
  const Model model = LoadModel(TinyFolder("bert-classification"));
  const Stopwatch same = [](const std::vector<Model>& models) {
    return std::vector<Timing>(models.size(), {10, 10, 10, 5});
  };
  LatencyBudget budget = MakeLatencyBudget(model, {.tokens = 16, .stopwatch = FakeStopwatch(2)},
                                           {.keep = 0.5}, kQuiet);
  budget.options.stopwatch = same;
  testing::internal::CaptureStderr();
  MeasureResult(model, FullPlan(budget.costs.units), kQuiet, &budget);
  const std::string warnings = testing::internal::GetCapturedStderr();
  EXPECT_NE(warnings.find("no faster here: 1.000"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("a larger --batch or --tokens"), std::string::npos) << warnings;
}

}  // namespace
}  // namespace coppice
