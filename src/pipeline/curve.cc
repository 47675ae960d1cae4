#include "pipeline/curve.h"

#include <fmt/format.h>

#include "core/file.h"
#include "pipeline/select.h"

namespace coppice {

std::vector<CurvePoint> MakeCurve(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, const std::vector<double>& shares,
                                  const SearchLimits& limits) {
  std::vector<CurvePoint> curve;
  for (const double share : shares) {
    ObsPlan chosen = PlanByLevels(spec, scores, costs, BudgetLimit(costs, share), limits);
    CurvePoint point;
    point.asked = share;
    point.got = static_cast<double>(costs.Of(chosen.plan)) / static_cast<double>(costs.Dense());
    point.loss = chosen.loss;
    point.plan = std::move(chosen.plan);
    point.file = fmt::format("plan-{}.json", share);
    curve.push_back(std::move(point));
  }
  return curve;
}

void WriteCurve(const std::vector<CurvePoint>& curve, const std::filesystem::path& folder) {
  for (const CurvePoint& point : curve) {
    const nlohmann::ordered_json json = {{"asked", point.asked},
                                         {"got", point.got},
                                         {"predicted", point.loss},
                                         {"plan", PlanToJson(point.plan)}};
    WriteFile(folder / point.file, json.dump(2) + "\n");
  }
}

}  // namespace coppice
