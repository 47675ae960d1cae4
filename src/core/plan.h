// Which units stay. The value that search, repair, shrinking and the written record meet in.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coppice {

// Kept units of every sub-layer, in the order of ModelSpec::sub_layers; ascending indices into the
// units of the model that was pruned.
struct Plan {
  std::vector<std::vector<int64_t>> kept;
  bool operator==(const Plan&) const = default;
};

// Throws Error (kBadInput) naming `where` unless the plan has one ascending list without repeats
// for each sub-layer, every index below that sub-layer's number of units.
void ValidatePlan(const Plan& plan, const std::vector<int64_t>& units, const std::string& where);

// {"sub_layers": [[kept...], ...]} inside coppice.json, key "plan".
nlohmann::ordered_json PlanToJson(const Plan& plan);
Plan PlanFromJson(const nlohmann::ordered_json& json, const std::string& where);

// The plan that keeps everything.
Plan FullPlan(const std::vector<int64_t>& units);

}  // namespace coppice
