#include "core/plan.h"

#include <fmt/format.h>

#include <numeric>

#include "core/error.h"

namespace coppice {

void ValidatePlan(const Plan& plan, const std::vector<int64_t>& units, const std::string& where) {
  if (plan.kept.size() != units.size()) {
    ThrowBadInput({.what = "the plan is for another model",
                   .where = where,
                   .expected = fmt::format("{} sub-layers", units.size()),
                   .found = fmt::to_string(plan.kept.size())});
  }
  for (size_t i = 0; i < units.size(); ++i) {
    int64_t previous = -1;
    for (const int64_t unit : plan.kept[i]) {
      if (unit <= previous || unit >= units[i]) {
        ThrowBadInput({.what = fmt::format("bad unit in sub-layer {}", i),
                       .where = where,
                       .expected = fmt::format("ascending numbers below {}", units[i]),
                       .found = fmt::to_string(unit)});
      }
      previous = unit;
    }
  }
}

nlohmann::ordered_json PlanToJson(const Plan& plan) { return {{"sub_layers", plan.kept}}; }

Plan PlanFromJson(const nlohmann::ordered_json& json, const std::string& where) {
  const nlohmann::ordered_json& plan =
      json.is_object() && json.contains("plan") ? json["plan"] : json;
  try {
    return {plan.at("sub_layers").get<std::vector<std::vector<int64_t>>>()};
  } catch (const nlohmann::json::exception&) {
    ThrowBadInput(
        {.what = "not a plan",
         .where = where,
         .expected = "a coppice.json with \"plan\": {\"sub_layers\": [[unit, ...], ...]}"});
  }
}

Plan FullPlan(const std::vector<int64_t>& units) {
  Plan plan;
  for (const int64_t count : units) {
    plan.kept.emplace_back(static_cast<size_t>(count));
    std::iota(plan.kept.back().begin(), plan.kept.back().end(), 0);
  }
  return plan;
}

}  // namespace coppice
