#include "pipeline/repair_model.h"

#include <fmt/format.h>

#include <cmath>

#include "model/cost.h"
#include "search/global_search.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

// Chosen on development data (bench/HISTORY.md).
double Ridge(const ModelSpec& spec, const PruneOptions& options) {
  return options.ridge.value_or(spec.task == Task::kLanguageModel ? 0.3 : 0.03);
}

// The first step gains most. On the CPU a step takes as long as half of the other repair, for
// nothing to a tenth of the divergence: there it is asked for.
int64_t UsualInnerSteps(const ModelSpec& spec, at::Device device, const PruneOptions& options) {
  if (options.method != "obs" || !device.is_cuda()) return 0;
  return spec.task == Task::kLanguageModel ? 1 : 2;
}

}  // namespace

Repair RepairOf(const PruneOptions& options) {
  return options.repair ? ParseRepair(*options.repair) : FindMethod(options.method).repair;
}

TuneOptions RepairOptions(const Model& model, at::Device device, const PruneOptions& options) {
  const Method& method = FindMethod(options.method);
  TuneOptions tune;
  tune.ridge = Ridge(model.spec, options);
  tune.repair = RepairOf(options);
  tune.inner_steps = options.inner_steps.value_or(UsualInnerSteps(model.spec, device, options));
  tune.target = options.target ? ParseTarget(*options.target) : method.target;
  tune.published = options.as_published && options.method == "fisher";
  return tune;
}

Model WithRepair(const Model& shrunk, const TuneResult& result, const Console& console,
                 PruneReport* report) {
  report->repairs = result.records;
  for (const TuneRecord& record : result.records) {
    if (!record.note.empty()) console.Note(fmt::format("  {}: {}", record.output, record.note));
  }
  return WithTensors(shrunk, result.tensors);
}

Model RepairModel(const Model& model, const Network& dense, const Scored& scored,
                  const CostTable& costs, const FitSamples& samples, const Model& shrunk,
                  const PruneOptions& options, const Console& console, PruneReport* report) {
  TuneOptions tune = RepairOptions(model, dense.compute.device, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) return shrunk;
  if (!tune.published)
    return WithRepair(shrunk, Tune(dense, shrunk, samples, tune, console), console, report);
  const Plan milder =
      SearchGlobally(model.spec, scored.scores, costs, BudgetLimit(costs, std::sqrt(*options.keep)),
                     SearchRules::kPublished)
          .plan;
  const Network teacher = Bind(Shrink(model, milder, dense.compute.memory), dense.compute);
  tune.unpruned = &dense;
  return WithRepair(shrunk, Tune(teacher, shrunk, samples, tune, console), console, report);
}

}  // namespace coppice
