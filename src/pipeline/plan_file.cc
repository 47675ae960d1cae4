#include "pipeline/plan_file.h"

#include "core/file.h"
#include "load/strict_json.h"

namespace coppice {

Plan ReadPlan(const std::filesystem::path& file) {
  constexpr JsonLimits kLimits = {.depth = 16, .values = 1000000};
  return PlanFromJson(
      ParseStrictJson<nlohmann::ordered_json>(ReadFile(file), file, "plan", kLimits),
      file.string());
}

}  // namespace coppice
