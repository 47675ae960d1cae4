#include "pipeline/measured_levels.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>

#include "pipeline/select.h"
#include "score/obs_curve.h"

namespace coppice {
namespace {

// One share gave mpnet-mnli a divergence of .080, two and three gave .070; of SmolLM2 two gave
// lower perplexities on two cores at 20 and 50 % (bench/HISTORY.md). Models of images were measured
// with one.
std::vector<double> MeasuredShares(const ModelSpec& spec, const PruneOptions& options) {
  return options.measured.value_or(spec.image.grid > 0 ? std::vector<double>{0.5}
                                                       : std::vector<double>{1.0 / 3, 2.0 / 3});
}

}  // namespace

// More of it keeps units that other text needs: half of a language model removed by one text's
// moments alone costs another text much. With several sources, and with images of the model's own,
// less is better (bench/HISTORY.md).
double ObsDamping(const ModelSpec& spec, const PruneOptions& options) {
  return options.damping.value_or(IsText(spec) && options.data.size() == 1 ? 0.3 : 0.01);
}

std::vector<int64_t> MeasuredCounts(const ModelSpec& spec, const PruneOptions& options,
                                    const SubLayerSpec& sub) {
  const std::vector<double> shares = MeasuredShares(spec, options);
  if (shares.empty() || sub.units == 0) return {};
  const int64_t block = sub.kind == UnitKind::kChannel ? ObsOptions{}.block : 1;
  std::vector<int64_t> counts = {0};
  for (const double share : shares) {
    const double blocks = share * static_cast<double>(sub.units) / static_cast<double>(block);
    const int64_t count = block * static_cast<int64_t>(std::llround(blocks));
    if (count > counts.back() && count < sub.units) counts.push_back(count);
  }
  return counts;
}

Samples MeasuredSamples(const Samples& samples, const ModelSpec& spec) {
  constexpr size_t kSamples = 128, kTexts = 4, kTextTokens = 256;
  const bool language = spec.task == Task::kLanguageModel;
  Samples few;
  few.labelled = samples.labelled;
  const size_t all = samples.samples.size();
  const size_t count = std::min(all, language ? kTexts : kSamples);
  for (size_t k = 0; k < count; ++k) {  // spread, since files stand one after the other
    few.samples.push_back(samples.samples[(2 * k + 1) * all / (2 * count)]);
    Encoding& encoding = few.samples.back().encoding;
    if (!language || encoding.ids.size() <= kTextTokens) continue;
    encoding.ids.resize(kTextTokens);
    encoding.type_ids.resize(kTextTokens);
  }
  return few;
}

double ScaleCurve(const std::vector<int64_t>& counts, const std::vector<double>& measured,
                  double floor, ObsCurve* curve) {
  double sum = 0, terms = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    const double estimated = LossAt(*curve, counts[k]);
    if (counts[k] == 0 || measured[k] <= 4 * floor || !(estimated > 0)) continue;
    sum += std::log((measured[k] - floor) / estimated);
    ++terms;
  }
  const double scale = terms > 0 ? std::exp(sum / terms) : 1;
  for (double& loss : curve->losses) loss *= scale;
  if (!counts.empty() && counts.front() == 0)
    curve->losses.front() = std::max(measured.front() - floor, 0.0);
  NeverRise(&curve->losses);
  return scale;
}

void MeasureLevels(const Network& dense, const Samples& held_out, const MeasuredLevels& levels,
                   const Console& console, ObsScores* scores) {
  constexpr double kLost = 1e6;  // nats: outputs that are no numbers
  const size_t count = dense.sub_layers.size();
  std::vector<std::vector<Replacement>> all = levels.refits;  // shares the tensors
  for (size_t i = 0; i < count; ++i)
    all[i].insert(all[i].end(), levels.narrow_keys[i].begin(), levels.narrow_keys[i].end());
  std::vector<std::vector<double>> measured =
      MeasureReplacements(dense, MeasuredSamples(held_out, dense.spec), all, {}, console);
  for (std::vector<double>& of_sub_layer : measured) {
    for (double& loss : of_sub_layer) loss = std::isfinite(loss) ? loss : kLost;
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t refits = levels.refits[i].size();
    // One refit more than counts is the unchanged sub-layer.
    if (refits > levels.counts[i].size()) scores->floor = std::max(0.0, measured[i][refits - 1]);
  }
  for (size_t i = 0; i < count; ++i) {
    const auto keys = measured[i].begin() + static_cast<std::ptrdiff_t>(levels.refits[i].size());
    const std::vector<double> counted(
        measured[i].begin(),
        measured[i].begin() + static_cast<std::ptrdiff_t>(levels.counts[i].size()));
    if (!levels.counts[i].empty()) {
      ScaleValues(ScaleCurve(levels.counts[i], counted, scores->floor, &scores->curves[i]), i,
                  &scores->heads);
    }
    if (scores->heads.bases.empty()) continue;
    scores->heads.keys.push_back(
        KeyLevelsOf(dense.spec.sub_layers[i], {keys, measured[i].end()}, scores->floor));
  }
}

}  // namespace coppice
