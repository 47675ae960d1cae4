#include "pipeline/obs_plans.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/error.h"
#include "pipeline/select.h"
#include "search/even_search.h"
#include "search/global_search.h"

namespace coppice {
namespace {

// What is predicted of language models comes true nearly always, of encoders often not
// (bench/HISTORY.md): Fisher's counts compete where no more than so many times the loss of the
// levels is predicted of them.
double MostHopeful(const ModelSpec& spec) { return IsText(spec) ? 1.1 : 3; }

bool IsAllowed(const SubLayerSpec& sub, int64_t count, int64_t least, const SearchLimits& limits) {
  if (count < least) return false;
  return sub.kind != UnitKind::kChannel || count == sub.units || count % limits.multiple == 0;
}

std::vector<Levels> LevelTable(const ModelSpec& spec, const ObsScores& scores,
                               const CostTable& costs, const SearchLimits& limits) {
  std::vector<Levels> table;
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    const SubLayerSpec& sub = spec.sub_layers[i];
    const int64_t least = limits.least.empty() ? 0 : limits.least[i];
    Levels levels;
    for (size_t k = 0; k < scores.curves[i].counts.size(); ++k) {
      const int64_t count = scores.curves[i].counts[k];
      if (IsAllowed(sub, count, least, limits))
        levels.push_back({count, scores.curves[i].losses[k], costs.OfSubLayer(i, count)});
    }
    if (!scores.heads.bases.empty())
      levels = WithNarrowHeads(scores.heads, i, costs, least, std::move(levels));
    table.push_back(std::move(levels));
  }
  return table;
}

ObsPlan PlanOf(const std::string& name, const ObsScores& scores, const std::vector<Levels>& table,
               const LevelChoice& choice) {
  ObsPlan result{name, {}, choice.loss};
  for (size_t i = 0; i < table.size(); ++i) {
    const Level& level = table[i][choice.level[i]];
    result.plan.kept.push_back(KeptUnits(scores.curves[i], level.units));
    if (!scores.heads.bases.empty()) result.plan.heads.push_back(level.shape);
  }
  if (!result.plan.narrows()) result.plan.heads.clear();
  return result;
}

// The curves' own units at another plan's counts.
ObsPlan AtCounts(const std::string& name, const Plan& counts, const ObsScores& scores) {
  ObsPlan result{name, {}, 0};
  for (size_t i = 0; i < counts.kept.size(); ++i) {
    const auto count = static_cast<int64_t>(counts.kept[i].size());
    result.plan.kept.push_back(KeptUnits(scores.curves[i], count));
    result.loss += LossAt(scores.curves[i], count);
  }
  return result;
}

// Fisher's counts. In the sweep's blocks: its curves hold at them, and odd widths are slower on
// GPUs.
ObsPlan PlanByFisher(const ModelSpec& spec, const ObsScores& scores, const CostTable& costs,
                     int64_t limit, SearchLimits limits, const PruneOptions& options) {
  const bool own_units = options.allocation == "fisher-units";
  if (!own_units) limits.multiple = std::max(limits.multiple, ObsOptions{}.block);
  const GlobalSearchResult global =
      SearchGlobally(spec, scores.fisher, costs, limit, SearchRules::kExact, limits);
  ObsPlan result = AtCounts("fisher", global.plan, scores);
  if (own_units) result.plan = global.plan;
  return result;
}

// What search() finds; nothing where it can not meet the budget.
template <typename Search>
std::optional<ObsPlan> IfAny(const Search& search) {
  try {
    return search();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kBudget) throw;
    return {};
  }
}

// The same with `macs` as costs, at a share of them whose plan costs `limit` at most by `costs`
// where a thousandth more does not; nothing where no such share is found.
std::optional<ObsPlan> FisherAtMacs(const ModelSpec& spec, const ObsScores& scores,
                                    const CostTable& macs, const CostTable& costs, int64_t limit,
                                    const SearchLimits& limits, const PruneOptions& options) {
  std::optional<ObsPlan> best;
  int64_t low = 0, high = macs.Dense() + 1;
  while (high - low > std::max<int64_t>(1, macs.Dense() / 1024)) {
    const int64_t middle = low + (high - low) / 2;
    std::optional<ObsPlan> tried =
        IfAny([&] { return PlanByFisher(spec, scores, macs, middle, limits, options); });
    const bool in_time = !tried || costs.Of(tried->plan) <= limit;  // none: too few for any plan
    (in_time ? low : high) = middle;
    if (!in_time || !tried) continue;
    tried->name = "fisher at MACs";
    best = std::move(tried);
  }
  return best;
}

}  // namespace

ObsPlan PlanByLevels(const ModelSpec& spec, const ObsScores& scores, const CostTable& costs,
                     int64_t limit, const SearchLimits& limits) {
  const std::vector<Levels> table = LevelTable(spec, scores, costs, limits);
  const LevelChoice choice = ChooseLevels(table, limit - costs.fixed);
  if (choice.level.empty()) FailBudget(costs, limit, "no widths fit the budget");
  ObsPlan result = PlanOf("levels", scores, table, choice);
  if (costs.Of(result.plan) == costs.fixed) FailBudget(costs, limit, "no unit fits the budget");
  return result;
}

std::vector<ObsPlan> MakeObsPlans(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                  const PruneOptions& options, const CostTable* macs) {
  std::vector<ObsPlan> plans;
  const auto wanted = [&](const char* name) {
    return options.allocation == "best" || options.allocation == name;
  };
  if (options.uniform) {
    const GlobalSearchResult even =
        SearchEvenly(spec, scores.fisher, costs, limit, limits, /*keep=*/1);
    return {AtCounts("uniform", even.plan, scores)};
  }
  if (wanted("levels")) plans.push_back(PlanByLevels(spec, scores, costs, limit, limits));
  if (options.allocation == "best" && !plans.empty() && plans[0].plan.narrows()) {
    ObsScores whole = scores;  // shares the tensors
    whole.heads = {};
    std::optional<ObsPlan> found =
        IfAny([&] { return PlanByLevels(spec, whole, costs, limit, limits); });
    if (found) {
      found->name = "whole heads";
      plans.push_back(*std::move(found));
    }
  }
  if (wanted("fisher") || options.allocation == "fisher-units") {
    const auto by_fisher = [&] {
      return PlanByFisher(spec, scores, costs, limit, limits, options);
    };
    std::optional<ObsPlan> fisher =
        macs != nullptr ? FisherAtMacs(spec, scores, *macs, costs, limit, limits, options)
        : plans.empty() ? by_fisher()
                        : IfAny(by_fisher);
    const bool hopeful =
        fisher && (plans.empty() || fisher->loss <= MostHopeful(spec) * plans[0].loss);
    if (hopeful) plans.push_back(*std::move(fisher));
  }
  if (macs != nullptr) AddPlanAtMacs(spec, scores, *macs, costs, limit, limits, &plans);
  return plans;
}

void AddPlanAtMacs(const ModelSpec& spec, const ObsScores& scores, const CostTable& macs,
                   const CostTable& costs, int64_t limit, const SearchLimits& limits,
                   std::vector<ObsPlan>* plans) {
  const std::vector<Levels> table = LevelTable(spec, scores, macs, limits);
  const LevelChoice choice = LargestChoice(table, [&](const LevelChoice& tried) {
    int64_t cost = costs.fixed;
    for (size_t i = 0; i < table.size(); ++i) {
      const Level& level = table[i][tried.level[i]];
      cost += costs.OfSubLayer(i, level.units, level.shape);
    }
    return cost <= limit;
  });
  if (choice.level.empty()) return;
  ObsPlan found = PlanOf("levels at MACs", scores, table, choice);
  const bool known = std::any_of(plans->begin(), plans->end(),
                                 [&](const ObsPlan& other) { return other.plan == found.plan; });
  if (!known && costs.Of(found.plan) > costs.fixed) plans->push_back(std::move(found));
}

}  // namespace coppice
