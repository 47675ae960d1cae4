#include "pipeline/costs.h"

#include <ATen/Parallel.h>

#include "model/device.h"

namespace coppice {

CostTable MakeCosts(const Model& model, const Console& console, PruneReport* report) {
  const PruneOptions& options = report->options;
  if (options.budget != CostKind::kLatency)
    return MakeCostTable(model, options.budget, options.scope, report->tokens);
  const StageClock clock(&report->seconds.search);
  const LatencyGoal goal = {
      .keep = *options.keep,
      .compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure),
      .threads = at::get_num_threads(),
      .style = options.plain ? OnnxStyle::kPlain : OnnxStyle::kFused};
  report->latency = MakeLatencyBudget(model, options.latency, goal, console);
  return report->latency->costs;
}

CostTable CostsToSearchWith(const CostTable& table,
                            const std::function<std::vector<Plan>(const CostTable&)>& search,
                            const Console& console, PruneReport* report) {
  if (!report->latency || report->options.as_published) return table;
  return CostsThatHold(search, console, &*report->latency);
}

}  // namespace coppice
