#include "pipeline/plan_file.h"

#include "core/file.h"
#include "load/strict_json.h"

namespace coppice {

Plan ReadPlan(const std::filesystem::path& file) {
  constexpr JsonLimits kLimits = {.depth = 16, .values = 20000000};  // 70B has 2 million units
  return PlanFromJson(ParseStrictJson<nlohmann::json>(ReadFile(file), file, "plan", kLimits),
                      file.string());
}

}  // namespace coppice
