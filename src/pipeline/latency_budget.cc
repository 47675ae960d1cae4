#include "pipeline/latency_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/processor_load.h"
#include "latency/table_file.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNanoseconds = 1e6;  // in a millisecond
constexpr double kClose = 0.01;       // of the dense time: not worth another round
constexpr int kAttempts = 3;
constexpr double kBusy = 0.3;  // spread above which nothing is learnt of times
constexpr Rounds kTableRounds = {.least = 4, .most = 25, .seconds = 40};
constexpr Rounds kPlanRounds = {.least = 5, .most = 25, .seconds = 15};

LatencySetting SettingOf(const LatencyBudget& budget) {
  return {.runtime = budget.options.runtime,
          .batch = budget.options.batch,
          .tokens = budget.options.tokens,
          .compute = budget.goal.compute,
          .threads = budget.goal.threads,
          .style = budget.goal.style};
}

Stopwatch StopwatchOf(const LatencyBudget& budget, const Rounds& rounds, const Console& console) {
  if (budget.options.stopwatch) return budget.options.stopwatch;
  return MakeStopwatch(SettingOf(budget), rounds, console);
}

void CheckSetting(const Model& model, const LatencyOptions& options) {
  if (options.runtime == "onnxruntime" && model.spec.form != BlockForm::kEncoder) {
    ThrowUsage({.what = "language models are not run in onnxruntime",
                .where = "--runtime",
                .hint = "use the runtime coppice"});
  }
  if (options.batch < 1 || options.tokens < 2 || options.tokens > model.spec.max_tokens) {
    ThrowUsage({.what = "a latency of impossible inputs",
                .where = "--batch, --tokens",
                .expected = fmt::format("1 row or more of 2 to {} tokens", model.spec.max_tokens),
                .found = fmt::format("{} of {}", options.batch, options.tokens)});
  }
}

// Times that say nothing: says so, and nothing is learnt from them.
bool IsBusy(const LatencyBudget& budget, const ProcessorLoad& load, double spread,
            const Console& console) {
  const bool own_clock = budget.options.stopwatch == nullptr;
  const bool crowded = own_clock && load.Crowds(budget.goal.threads);
  if (!crowded && spread <= kBusy) return false;
  console.Warn(
      fmt::format("this machine is busy (times spread by {:.0f} %, other programs have {:.1f} "
                  "processors in use): these times are not kept",
                  100 * spread, load.Others()));
  return true;
}

// A cache that cannot be written is no reason to fail; a file that was named is.
void KeepTable(const LatencyBudget& budget, const Console& console) {
  try {
    WriteTable(budget.file, budget.table);
  } catch (const Error& error) {
    if (!budget.options.table.empty()) throw;
    console.Warn(fmt::format("the latency table is not kept: {}", error.what()));
  }
}

void ReadOrMeasure(LatencyBudget* budget, const Console& console) {
  const LatencyOptions& options = budget->options;
  const Json key = LatencyKey(budget->model.spec, SettingOf(*budget));
  const bool own = options.stopwatch == nullptr;
  budget->file = !options.table.empty() ? options.table
                 : own                  ? CachedTableFile(key)
                                        : std::filesystem::path();
  if (!options.remeasure && !budget->file.empty()) {
    if (std::optional<LatencyTable> table = ReadTable(budget->file, key)) {
      budget->table = *table;
      budget->reused = true;
      console.Note(fmt::format("latency table of {}", budget->file.string()));
      return;
    }
    std::error_code ignored;
    if (!options.table.empty() && std::filesystem::exists(options.table, ignored)) {
      ThrowBadInput({.what = "this is not a latency table of this model on this machine",
                     .where = options.table.string(),
                     .hint = "--remeasure replaces it"});
    }
  }
  const ProcessorLoad load;
  budget->table =
      FitTable(budget->model.spec,
               MeasureProbes(budget->model, StopwatchOf(*budget, kTableRounds, console)));
  budget->table.key = key;
  const bool sound = !IsBusy(*budget, load, budget->table.spread, console);
  if (sound && !budget->file.empty()) KeepTable(*budget, console);
}

// A budget that no width reaches.
void RequireReachable(const LatencyBudget& budget) {
  const double limit = budget.goal.keep * budget.table.dense_ms;
  if (limit > budget.table.fixed_ms) return;
  ThrowBudget({.what = "the latency budget is below what pruning cannot take away",
               .where = fmt::format("{}, batch {} x {}", budget.options.runtime,
                                    budget.options.batch, budget.options.tokens),
               .expected = fmt::format("at most {:.2f} of {:.2f} ms", limit, budget.table.dense_ms),
               .found = fmt::format("{:.2f} ms without any head or channel", budget.table.fixed_ms),
               .hint = "ask to keep more, or for a larger --batch or --tokens"});
}

const LatencyRound* FindRound(const std::vector<LatencyRound>& rounds, const Plan& plan) {
  const auto found = std::find_if(rounds.begin(), rounds.end(),
                                  [&](const LatencyRound& round) { return round.plan == plan; });
  return found == rounds.end() ? nullptr : &*found;
}

double LargestSpread(const std::vector<Timing>& timings) {
  double largest = 0;
  for (const Timing& t : timings) largest = std::max(largest, t.spread());
  return largest;
}

double Milliseconds(int64_t cost) { return static_cast<double>(cost) / kNanoseconds; }

std::vector<std::string> Advice(const LatencyBudget& budget) {
  constexpr double kGain = 0.97, kMiss = 0.05, kLargeFixed = 0.25;
  std::vector<std::string> lines;
  const double fixed = budget.table.fixed_ms / budget.table.dense_ms;
  const double share = budget.result->share(), keep = budget.goal.keep;
  if (share > kGain && keep < kGain) {
    lines.push_back(
        fmt::format("the pruned model is no faster here: {:.3f} of the dense time", share));
  } else if (share > keep + kMiss) {
    lines.push_back(fmt::format(
        "the latency budget is missed: {:.3f} of the dense time, not {:.3f}", share, keep));
  }
  if (fixed > kLargeFixed || !lines.empty()) {
    lines.push_back(
        fmt::format("{:.0f} % of the dense time at batch {} x {} is outside heads and "
                    "channels; a larger --batch or --tokens leaves more to take",
                    100 * fixed, budget.options.batch, budget.options.tokens));
  }
  return lines;
}

}  // namespace

LatencyBudget MakeLatencyBudget(const Model& model, const LatencyOptions& options,
                                const LatencyGoal& goal, const Console& console) {
  CheckSetting(model, options);
  LatencyBudget budget;
  budget.options = options;
  budget.goal = goal;
  budget.model = model;
  ReadOrMeasure(&budget, console);
  RequireReachable(budget);
  budget.costs = LatencyCosts(model.spec, budget.table);
  return budget;
}

CostTable CostsThatHold(const std::function<std::vector<Plan>(const CostTable&)>& search,
                        const Console& console, LatencyBudget* budget) {
  const Stopwatch stopwatch = StopwatchOf(*budget, kPlanRounds, console);
  const double fixed = budget->table.fixed_ms;
  CostTable costs = budget->costs;
  CostTable best = costs;
  double least_miss = INFINITY;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::vector<Plan> plans = search(costs);
    std::vector<Model> models = {budget->model};
    const ProcessorLoad load;
    for (const Plan& plan : plans) models.push_back(Shrink(budget->model, plan));
    const std::vector<Timing> timings = stopwatch(models);
    double miss = 0, factor = 0;
    for (size_t i = 0; i < plans.size(); ++i) {
      const double share = timings[i + 1].median / timings[0].median;
      const LatencyRound run = {plans[i], Milliseconds(budget->costs.Of(plans[i])),
                                Milliseconds(costs.Of(plans[i])), share * budget->table.dense_ms};
      console.Note(fmt::format("  predicted {:.2f} ms, measured {:.2f} ms ({:.3f} of dense)",
                               run.predicted_ms, run.measured_ms, share));
      budget->rounds.push_back(run);
      const double over = share - budget->goal.keep;
      miss = std::max(miss, over > 0 ? 2 * over : -over);  // too slow is worse than too fast
      const bool sound = run.table_ms > fixed && run.measured_ms > fixed;
      factor += (sound ? (run.measured_ms - fixed) / (run.table_ms - fixed) : 1) /
                static_cast<double>(plans.size());
    }
    if (IsBusy(*budget, load, LargestSpread(timings), console)) return budget->costs;
    if (miss < least_miss) best = costs;
    least_miss = std::min(miss, least_miss);
    if (miss <= kClose) break;
    costs = ScaleCosts(budget->costs, std::clamp(factor, 0.5, 2.0));
  }
  return best;
}

void MeasureResult(const Model& pruned, const Plan& plan, const Console& console,
                   LatencyBudget* budget) {
  const std::vector<Timing> timings =
      StopwatchOf(*budget, kPlanRounds, console)({budget->model, pruned});
  const LatencyRound* const run = FindRound(budget->rounds, plan);
  const double table_ms = Milliseconds(budget->costs.Of(plan));
  budget->result = {timings[0], timings[1], table_ms, run ? run->predicted_ms : table_ms};
  for (const std::string& line : Advice(*budget)) console.Warn(line);
}

Json LatencyJson(const LatencyBudget& budget) {
  const auto timing = [](const Timing& t) -> Json {
    return {
        {"median_ms", t.median}, {"low_ms", t.low}, {"high_ms", t.high}, {"repeats", t.repeats}};
  };
  Json runs = Json::array();
  for (const LatencyRound& round : budget.rounds) {
    runs.push_back({{"table_ms", round.table_ms},
                    {"predicted_ms", round.predicted_ms},
                    {"measured_ms", round.measured_ms}});
  }
  Json json = {{"runtime", budget.table.key.value("runtime", "")},
               {"batch", budget.options.batch},
               {"tokens", budget.options.tokens},
               {"threads", budget.goal.threads},
               {"dtype", budget.table.key.value("dtype", "")},
               {"table",
                {{"file", budget.file.string()},
                 {"reused", budget.reused},
                 {"spread", budget.table.spread},
                 {"fixed_ms", budget.table.fixed_ms},
                 {"dense_ms", budget.table.dense_ms}}},
               {"rounds", runs}};
  if (!budget.result) return json;
  const LatencyResult& result = *budget.result;
  json["table_ms"] = result.table_ms;
  json["predicted_ms"] = result.predicted_ms;
  json["dense"] = timing(result.dense);
  json["pruned"] = timing(result.pruned);
  json["predicted_share"] = result.predicted_ms / budget.table.dense_ms;
  json["share"] = result.share();
  json["speedup"] = 1 / result.share();
  return json;
}

std::string LatencyText(const LatencyBudget& budget) {
  const LatencyResult& result = *budget.result;
  const double dense = budget.table.dense_ms;
  return fmt::format(
      "latency      {:>7.2f} ms -> {:>7.2f} ms   ({:.3f}; {}, batch {} x {})\n"
      "  predicted  {:>7.2f} ms -> {:>7.2f} ms   ({:.3f})\n",
      result.dense.median, result.pruned.median, result.share(), budget.options.runtime,
      budget.options.batch, budget.options.tokens, dense, result.predicted_ms,
      result.predicted_ms / dense);
}

}  // namespace coppice
