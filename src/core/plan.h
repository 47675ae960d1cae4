// Which units stay, and how wide heads are. The value that search, repair, shrinking and the
// written record meet in.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coppice {

// How wide the heads of an attention sub-layer become, all of them alike; 0: as wide as they are.
struct HeadShape {
  int64_t values = 0;  // numbers of a value: the first so many directions of the head's basis
  int64_t keys = 0;    // numbers of a query and of a key
  bool operator==(const HeadShape&) const = default;
};

// Kept units of every sub-layer, in the order of ModelSpec::sub_layers; ascending indices into the
// units of the model that was pruned.
struct Plan {
  std::vector<std::vector<int64_t>> kept;
  std::vector<HeadShape> heads = {};  // of every sub-layer; empty: no head is narrowed
  HeadShape shape(size_t index) const { return heads.empty() ? HeadShape{} : heads[index]; }
  bool narrows() const;  // any head
  bool operator==(const Plan&) const = default;
};

// Throws Error (kBadInput) naming `where` unless the plan has one ascending list without repeats
// for each sub-layer, every index below that sub-layer's number of units.
void ValidatePlan(const Plan& plan, const std::vector<int64_t>& units, const std::string& where);

// The same unless every head is to have 0 (as many as there are) up to `widths` numbers.
void ValidateHeads(const Plan& plan, const std::vector<HeadShape>& widths,
                   const std::string& where);

// {"sub_layers": [[kept...], ...]} inside coppice.json, key "plan"; where heads are narrowed also
// "values" and "keys", a number a sub-layer.
nlohmann::ordered_json PlanToJson(const Plan& plan);
Plan PlanFromJson(const nlohmann::json& json, const std::string& where);

// The plan that keeps everything.
Plan FullPlan(const std::vector<int64_t>& units);

}  // namespace coppice
