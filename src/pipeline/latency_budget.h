// Budgets in milliseconds (--keep-latency): the table, the searches with it, and what came of it.
//
//   1. A table of what every width costs is measured on this machine, or read (latency/table.h).
//   2. A search takes it as it takes MACs; its limit is a share of the dense model's measured time.
//   3. The plan's shape is cut and run beside the dense model. Where its share of the time misses
//      the one asked for, the sub-layers' costs are scaled by what was measured over what was
//      predicted, and the search runs again, before anything is repaired or written.
//   4. At the end the pruned model itself is run beside the dense one; that is what is reported.
//
// Times differ from run to run, so that two runs may choose other widths; a plan that was written
// (--plan) gives the same model again.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/plan.h"
#include "latency/table.h"

namespace coppice {

struct LatencyOptions {
  std::string runtime = "coppice";  // or "onnxruntime"
  int64_t batch = 1;
  int64_t tokens = 128;
  std::filesystem::path table = {};  // file that keeps the table; empty: in the user's cache
  bool remeasure = false;            // whether or not there is such a file
  Stopwatch stopwatch = {};          // empty: the runtime's own; with another nothing is cached
};

// What the dense model is to be cut to.
struct LatencyGoal {
  double keep = 1;  // share of the dense model's time
  Compute compute = {};
  int threads = 1;
  OnnxStyle style = OnnxStyle::kFused;
};

// A plan that was run before it was repaired.
struct LatencyRound {
  Plan plan;
  double table_ms = 0;      // by the table as it was measured
  double predicted_ms = 0;  // by the costs that it was searched with
  double measured_ms = 0;   // its share of the dense model's time, times that of the table
};

// Dense and pruned model side by side, at the end.
struct LatencyResult {
  Timing dense, pruned;
  double table_ms = 0;      // of the plan, as in LatencyRound
  double predicted_ms = 0;  // likewise
  double share() const { return pruned.median / dense.median; }
};

struct LatencyBudget {
  LatencyOptions options;
  LatencyGoal goal;
  Model model;
  LatencyTable table;
  std::filesystem::path file;  // that keeps the table; may be empty
  bool reused = false;         // the table was read from there
  CostTable costs;             // nanoseconds
  std::vector<LatencyRound> rounds;
  std::optional<LatencyResult> result;
};

// Throws Error: kUsage for options that do not fit the model, kBudget for a share that is not
// reached with nothing left of the blocks, kEnvironment where the runtime is not at hand.
LatencyBudget MakeLatencyBudget(const Model& model, const LatencyOptions& options,
                                const LatencyGoal& goal, const Console& console);

// The costs with which `search` gives plans that keep the share when they are run: where several
// compete, in the mean. Adds what was run to the budget's rounds.
CostTable CostsThatHold(const std::function<std::vector<Plan>(const CostTable&)>& search,
                        const Console& console, LatencyBudget* budget);

// Runs the pruned model beside the dense one, and says what a person should know of it: no gain, a
// budget missed, what would help.
void MeasureResult(const Model& pruned, const Plan& plan, const Console& console,
                   LatencyBudget* budget);

nlohmann::ordered_json LatencyJson(const LatencyBudget& budget);

// Two lines: measured and predicted, dense and pruned.
std::string LatencyText(const LatencyBudget& budget);

}  // namespace coppice
