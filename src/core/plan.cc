#include "core/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace coppice {
namespace {

void CheckWidth(const std::string& name, size_t index, int64_t width, int64_t most,
                const std::string& where) {
  if (width >= 0 && width <= most) return;
  ThrowBadInput({.what = fmt::format("bad \"{}\" of sub-layer {}", name, index),
                 .where = where,
                 .expected = fmt::format("0 to {}", most),
                 .found = fmt::to_string(width)});
}

}  // namespace

bool Plan::narrows() const {
  return std::any_of(heads.begin(), heads.end(),
                     [](const HeadShape& shape) { return shape != HeadShape{}; });
}

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

void ValidateHeads(const Plan& plan, const std::vector<HeadShape>& widths,
                   const std::string& where) {
  if (plan.heads.empty()) return;
  if (plan.heads.size() != widths.size()) {
    ThrowBadInput({.what = "the plan's heads are another model's",
                   .where = where,
                   .expected = fmt::format("{} sub-layers", widths.size()),
                   .found = fmt::to_string(plan.heads.size())});
  }
  for (size_t i = 0; i < widths.size(); ++i) {
    CheckWidth("values", i, plan.heads[i].values, widths[i].values, where);
    CheckWidth("keys", i, plan.heads[i].keys, widths[i].keys, where);
  }
}

nlohmann::ordered_json PlanToJson(const Plan& plan) {
  nlohmann::ordered_json json = {{"sub_layers", plan.kept}};
  if (!plan.narrows()) return json;
  for (const HeadShape& shape : plan.heads) {
    json["values"].push_back(shape.values);
    json["keys"].push_back(shape.keys);
  }
  return json;
}

Plan PlanFromJson(const nlohmann::json& json, const std::string& where) {
  const nlohmann::json& plan = json.is_object() && json.contains("plan") ? json["plan"] : json;
  try {
    Plan result{plan.at("sub_layers").get<std::vector<std::vector<int64_t>>>(), {}};
    const auto values = plan.value("values", std::vector<int64_t>());
    const auto keys = plan.value("keys", std::vector<int64_t>());
    result.heads.resize(std::max(values.size(), keys.size()));
    for (size_t i = 0; i < values.size(); ++i) result.heads[i].values = values[i];
    for (size_t i = 0; i < keys.size(); ++i) result.heads[i].keys = keys[i];
    return result;
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
