#include "pipeline/rounds.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "pipeline/measured_levels.h"
#include "score/replacement.h"

namespace coppice {
namespace {

// Measured over predicted change of one sub-layer's losses, as a logarithm; none where nothing
// could be told.
std::optional<double> LogRatio(const AroundCut& one, const ObsCurve& curve, double floor) {
  if (!one.measured) return {};
  const double predicted = LossAt(curve, one.kept);
  const double changes[] = {one.cut - one.whole, one.more - one.cut};
  const double expected[] = {predicted, LossAt(curve, one.less) - predicted};
  double logs = 0, known = 0;
  for (size_t k = 0; k < 2; ++k) {
    if (!(expected[k] > 0) || changes[k] <= 4 * floor) continue;
    logs += std::log(changes[k] / expected[k]);
    ++known;
  }
  if (known == 0) return {};
  return logs / known;
}

}  // namespace

void ScaleAround(const std::vector<AroundCut>& around, ObsScores* scores) {
  constexpr double kStep = 0.5;       // of a sub-layer's own departure
  const double most = std::log(8.0);  // of it that is believed
  std::vector<std::optional<double>> ratios;
  double sum = 0, terms = 0;
  for (size_t i = 0; i < around.size(); ++i) {
    ratios.push_back(LogRatio(around[i], scores->curves[i], scores->floor));
    if (!ratios[i]) continue;
    sum += *ratios[i];
    ++terms;
  }
  const double usual = terms > 0 ? sum / terms : 0;
  for (size_t i = 0; i < around.size(); ++i) {
    const double apart = std::clamp(ratios[i].value_or(usual) - usual, -most, most);
    const double ratio = std::exp(usual + kStep * apart);
    for (double& loss : scores->curves[i].losses) loss *= ratio;
    ScaleValues(ratio, i, &scores->heads);
    if (!scores->heads.keys.empty()) {
      for (KeyLevel& level : scores->heads.keys[i]) level.loss *= ratio;
    }
  }
}

void Remeasure(const Network& dense, const Samples& held_out, const Plan& plan,
               const PruneOptions& options, const Console& console, ObsScores* scores) {
  const size_t count = dense.sub_layers.size();
  const double damping = ObsDamping(dense.spec, options);
  std::vector<AroundCut> around(count);
  std::vector<Replacement> cuts;                     // of all the others
  std::vector<std::vector<Replacement>> own(count);  // cut, whole, and a little more cut
  for (size_t i = 0; i < count; ++i) {
    const Fetched sub = Fetch(dense, i);
    AroundCut& one = around[i];
    one.kept = static_cast<int64_t>(plan.kept[i].size());
    one.less = std::max<int64_t>(0, one.kept - std::max<int64_t>(1, sub->units / 8));
    one.measured = sub->units > 0;
    std::vector<Replacement> refits =
        Refit(scores->curvatures[i], *sub, {plan.kept[i], KeptUnits(scores->curves[i], one.less)},
              damping);
    refits.insert(refits.begin() + 1, Whole(*sub));
    if (dense.streamed) {
      for (Replacement& refit : refits) refit = PutAway(refit);
    }
    cuts.push_back(refits[0]);
    if (one.measured) own[i] = std::move(refits);
  }
  const std::vector<std::vector<double>> measured =
      MeasureReplacements(dense, MeasuredSamples(held_out, dense.spec), own, cuts, console);
  for (size_t i = 0; i < count; ++i) {
    if (!around[i].measured) continue;
    around[i].cut = measured[i][0];
    around[i].whole = measured[i][1];
    around[i].more = measured[i][2];
  }
  ScaleAround(around, scores);
}

}  // namespace coppice
