#include "pipeline/prune_by_obs.h"

#include <fmt/format.h>

#include <utility>

#include "pipeline/contest.h"
#include "pipeline/costs.h"
#include "pipeline/curve.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/obs_plans.h"
#include "pipeline/plan_file.h"
#include "pipeline/repair_model.h"
#include "pipeline/rounds.h"
#include "pipeline/select.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

std::vector<Plan> PlansOf(const std::vector<ObsPlan>& plans) {
  std::vector<Plan> result;
  result.reserve(plans.size());
  for (const ObsPlan& plan : plans) result.push_back(plan.plan);
  return result;
}

// The plan of --plan, in the bases that it needs.
ObsPlans GivenPlan(const Model& model, const Network& dense, const FitSamples& samples,
                   const PruneOptions& options, const Console& console, PruneReport* report) {
  ObsPlans given;
  given.plans = {{"plan", ReadPlan(options.plan), 0}};
  const Plan& plan = given.plans[0].plan;
  ValidatePlan(plan, UnitCounts(model.spec), options.plan.string());
  ValidateHeads(plan, HeadShapes(model.spec), options.plan.string());
  const StageClock clock(&report->seconds.score);
  if (plan.narrows()) given.bases = BasesOfPlan(model, dense, samples, options, console);
  return given;
}

// The costs of further plans, where a latency's plans compete on held-out samples.
std::optional<CostTable> MacsToSearchWith(const Model& model, const FitSamples& samples,
                                          const PruneOptions& options, double tokens) {
  const bool one_plan = options.uniform || options.allocation != "best" ||
                        samples.held_out.samples.empty() || RepairOf(options) == Repair::kNone;
  if (options.budget != CostKind::kLatency || one_plan) return {};
  return MakeCostTable(model, CostKind::kMacs, CostScope::kBlocks, tokens);
}

// The plans of the budget, none where there is no budget, and those of the curve.
ObsPlans SearchPlans(const Model& model, const Network& dense, const FitSamples& samples,
                     const CostTable& table, const PruneOptions& options, const Console& console,
                     PruneReport* report) {
  ObsScores scores;
  {
    const StageClock clock(&report->seconds.score);
    scores = MakeObsScores(model, dense, samples, options, console, report);
  }
  const StageClock clock(&report->seconds.search);
  const SearchLimits limits = LimitsOf(model.spec, options);
  if (!options.keep) {
    report->curve = MakeCurve(model.spec, scores, table, options.curve, limits);
    return {};
  }
  const std::optional<CostTable> macs = MacsToSearchWith(model, samples, options, report->tokens);
  const auto search = [&](const CostTable& tried) {
    return MakeObsPlans(model.spec, scores, tried, BudgetLimit(tried, *options.keep), limits,
                        options, macs ? &*macs : nullptr);
  };
  const CostTable costs = CostsToSearchWith(
      table, [&](const CostTable& tried) { return PlansOf(search(tried)); }, console, report);
  report->curve = MakeCurve(model.spec, scores, costs, options.curve, limits);
  std::vector<ObsPlan> plans = search(costs);
  const bool measures = !scores.curvatures.empty() && plans.front().name == "levels";
  for (int64_t round = 1; measures && round <= options.rounds; ++round) {
    const Plan around = round == 1 ? plans.front().plan : plans.back().plan;
    Remeasure(dense, samples.held_out, around, options, console, &scores);
    plans.push_back(
        PlanByLevels(model.spec, scores, costs, BudgetLimit(costs, *options.keep), limits));
    plans.back().name = fmt::format("levels, round {}", round);
  }
  return {std::move(plans), scores.heads.bases};
}

}  // namespace

std::optional<Model> PruneByObs(const Model& model, const Network& dense, const FitSamples& samples,
                                const CostTable& table, const PruneOptions& options,
                                const Console& console, PruneReport* report) {
  const ObsPlans all = !options.plan.empty()
                           ? GivenPlan(model, dense, samples, options, console, report)
                           : SearchPlans(model, dense, samples, table, options, console, report);
  if (all.plans.empty()) return {};
  const StageClock clock(&report->seconds.tune);
  const TuneOptions tune = RepairOptions(model, dense.compute.device, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) {
    report->plan = all.plans.front().plan;
    return Shrink(InBasis(model, report->plan, all.bases), report->plan, dense.compute.memory);
  }
  const Repaired repaired =
      RunContest(model, dense, samples, all, tune, options.align, console, report);
  return WithRepair(repaired.shrunk, repaired.result, console, report);
}

}  // namespace coppice
