#include "pipeline/obs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/select.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"
#include "search/even_search.h"
#include "search/global_search.h"

namespace coppice {
namespace {

at::Tensor ProjectionOf(const Model& model, size_t index) {
  return model.tensors.at(model.spec.sub_layers[index].output + ".weight").t();
}

bool IsText(const ModelSpec& spec) {
  return spec.task == Task::kLanguageModel && spec.image.grid == 0;
}

// What is predicted of language models comes true nearly always, of encoders often not
// (BENCHMARKS.md): Fisher's counts compete where no more than so many times the loss of the levels
// is predicted of them.
double MostHopeful(const ModelSpec& spec) { return IsText(spec) ? 1.1 : 3; }

// More of it keeps units that other text needs: half of a language model removed by one text's
// moments alone costs another text much. With several sources, and with images of the model's own,
// less is better (BENCHMARKS.md).
double Damping(const ModelSpec& spec, const PruneOptions& options) {
  return options.damping.value_or(IsText(spec) && options.data.size() == 1 ? 0.3 : 0.01);
}

// A pass of a language model costs more, and its curves have the right shape more often: on
// encoders one share instead of three gave mpnet-mnli a divergence of .080 instead of .070
// (BENCHMARKS.md).
std::vector<double> MeasuredShares(const ModelSpec& spec, const PruneOptions& options) {
  const bool language = spec.task == Task::kLanguageModel;
  return options.measured.value_or(language ? std::vector<double>{0.5}
                                            : std::vector<double>{0.25, 0.5, 0.75});
}

// Widths at which a sub-layer is measured: none at all, and shares of its units.
std::vector<int64_t> MeasuredCounts(int64_t units, const std::vector<double>& shares) {
  std::vector<int64_t> counts = {0};
  for (const double share : shares) {
    const auto count = static_cast<int64_t>(std::llround(share * static_cast<double>(units)));
    if (count > counts.back() && count < units) counts.push_back(count);
  }
  return counts;
}

// Scales the curve to the measured divergences: the geometric mean of their ratios, those within
// the floor of noise left out. The whole drop is taken as measured.
double ScaleCurve(const std::vector<int64_t>& counts, const std::vector<double>& measured,
                  double floor, ObsCurve* curve) {
  double sum = 0, terms = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    const double estimated = LossAt(*curve, counts[k]);
    if (counts[k] == 0 || measured[k] < 4 * floor || !(estimated > 0)) continue;
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

// What levels are measured on: the first of the held-out samples, of a language model two stretches
// of text. Each costs half a forward pass a level.
Samples MeasuredSamples(const Samples& held_out, bool language) {
  constexpr size_t kSamples = 128, kTexts = 2, kTextTokens = 512;
  Samples few;
  few.labelled = held_out.labelled;
  for (const Sample& sample : held_out.samples) {
    if (few.samples.size() == (language ? kTexts : kSamples)) break;
    few.samples.push_back(sample);
    Encoding& encoding = few.samples.back().encoding;
    if (!language || encoding.ids.size() <= kTextTokens) continue;
    encoding.ids.resize(kTextTokens);
    encoding.type_ids.resize(kTextTokens);
  }
  return few;
}

// Scales the curves to what the levels that were refitted cost. counts, replacements: of each
// sub-layer, one more of the first for what is measured of nothing; then those with narrower keys.
void Calibrate(const Model& model, const Network& dense, const Samples& held_out,
               const std::vector<std::vector<int64_t>>& counts,
               const std::vector<std::vector<Replacement>>& replacements, const Console& console,
               ObsScores* scores) {
  const bool language = dense.spec.task == Task::kLanguageModel;
  std::vector<std::vector<double>> measured =
      MeasureReplacements(dense, MeasuredSamples(held_out, language), replacements, {}, console);
  double& floor = scores->floor;
  if (!measured.empty() && measured[0].size() > counts[0].size()) {
    const auto unchanged = measured[0].begin() + static_cast<std::ptrdiff_t>(counts[0].size());
    floor = std::max(0.0, *unchanged);
    measured[0].erase(unchanged);
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    scores->scales.push_back(
        counts[i].empty() ? 1 : ScaleCurve(counts[i], measured[i], floor, &scores->curves[i]));
    ScaleValues(scores->scales.back(), i, &scores->heads);
    if (scores->heads.bases.empty()) continue;
    measured[i].erase(measured[i].begin(),
                      measured[i].begin() + static_cast<std::ptrdiff_t>(counts[i].size()));
    scores->heads.keys.push_back(KeyLevelsOf(model.spec.sub_layers[i], measured[i], floor));
  }
}

// What is narrowed of heads.
HeadParts PartsOf(const Model& model, const Network& dense, const PruneOptions& options,
                  const Console& console) {
  const HeadParts parts = Narrowing(model, options).parts;
  if (!parts.any() || !dense.streamed) return parts;
  console.Warn("heads are not narrowed: the model does not fit the memory that it may take");
  return {};
}

std::vector<ReaderMoments> MomentsOfReaders(const Network& dense, const FitSamples& samples,
                                            const Console& console) {
  const bool language = dense.spec.task == Task::kLanguageModel;
  return GatherReaderMoments(dense, MeasuredSamples(samples.fitted, language), console);
}

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

}  // namespace

ObsScores MakeObsScores(const Model& model, const Network& dense, const FitSamples& samples,
                        const PruneOptions& options, const Console& console, PruneReport* report) {
  MaskGradientOptions how = GradientOptions(dense, samples.fitted, options);
  how.curvature = true;
  report->sampled_labels = how.labels != LabelSource::kData;
  const size_t count = dense.sub_layers.size();
  const double damping = Damping(model.spec, options);
  const std::vector<double> shares = MeasuredShares(model.spec, options);
  const bool calibrate = !shares.empty() && !samples.held_out.samples.empty();
  ObsScores scores;
  scores.fisher.resize(count);
  scores.curves.resize(count);
  if (options.rounds > 0) scores.curvatures.resize(count);
  std::vector<std::vector<int64_t>> counts(count);
  std::vector<std::vector<Replacement>> replacements(count);
  std::optional<Progress> progress;  // of the sweeps, once they begin
  const HeadParts parts = PartsOf(model, dense, options, console);
  HeadLevels& heads = scores.heads;
  std::vector<ReaderMoments> moments;
  if (parts.any()) {
    heads.bases.resize(count);
    heads.values.resize(count);
  }
  if (parts.keys) moments = MomentsOfReaders(dense, samples, console);
  // What is known of a sub-layer is used up here, so that few Gram matrices are there at a time.
  const auto visit = [&](size_t i, SubLayerGradients* gradients) {
    CheckLoss(gradients->mean_loss, options);
    report->calibration_loss = gradients->mean_loss;
    if (!progress) progress.emplace(console, "sweep", static_cast<int64_t>(count));
    const Fetched sub = Fetch(dense, i);
    scores.fisher[i] = FisherScores(gradients->rows);
    gradients->rows.reset();
    ObsCurve& curve = scores.curves[i];
    const ObsOptions sweep = {.damping = damping, .fit_bias = sub->out.bias.defined()};
    curve = MakeObsCurve(gradients->curvature, ProjectionOf(model, i), sub->width, sweep);
    if (parts.any())
      heads.bases[i] = MakeHeadBasis(model, dense, i, gradients->curvature, moments, parts);
    if (parts.any() && heads.bases[i].values.defined()) {
      heads.values[i] = MakeValueLevels(gradients->curvature, ProjectionOf(model, i), curve,
                                        heads.bases[i].values, sweep);
    }
    if (calibrate && sub->units > 0) {
      counts[i] = MeasuredCounts(sub->units, shares);
      std::vector<std::vector<int64_t>> kept;
      for (const int64_t units : counts[i]) kept.push_back(KeptUnits(curve, units));
      // An unchanged sub-layer: what is measured of nothing.
      if (i == 0) kept.push_back(KeptUnits(curve, sub->units));
      replacements[i] = Refit(gradients->curvature, *sub, kept, damping);
      if (parts.keys) {
        for (Replacement& one : WithNarrowKeys(model, dense, i, heads.bases))
          replacements[i].push_back(std::move(one));
      }
      if (dense.streamed) {
        for (Replacement& one : replacements[i]) one = PutAway(one);
      }
    }
    if (options.rounds > 0) scores.curvatures[i] = std::move(gradients->curvature);
    progress->Step();
  };
  VisitMaskGradients(dense, samples.fitted, how, console, visit);
  progress.reset();
  if (calibrate) Calibrate(model, dense, samples.held_out, counts, replacements, console, &scores);
  return scores;
}

std::vector<HeadBasis> BasesOfPlan(const Model& model, const Network& dense,
                                   const FitSamples& samples, const PruneOptions& options,
                                   const Console& console) {
  MaskGradientOptions how = GradientOptions(dense, samples.fitted, options);
  how.curvature = true;
  const std::vector<ReaderMoments> moments = MomentsOfReaders(dense, samples, console);
  std::vector<HeadBasis> bases(dense.sub_layers.size());
  VisitMaskGradients(
      dense, samples.fitted, how, console, [&](size_t i, SubLayerGradients* gradients) {
        bases[i] = MakeHeadBasis(model, dense, i, gradients->curvature, moments, {true, true});
      });
  return bases;
}

void Remeasure(const Network& dense, const Samples& held_out, const Plan& plan,
               const PruneOptions& options, const Console& console, ObsScores* scores) {
  const size_t count = dense.sub_layers.size();
  const double damping = Damping(dense.spec, options);
  std::vector<Replacement> cuts;
  std::vector<std::vector<Replacement>> others(
      count);  // each sub-layer's cut, whole, and a little less
  std::vector<int64_t> less;
  for (size_t i = 0; i < count; ++i) {
    const Fetched sub = Fetch(dense, i);
    const auto kept = static_cast<int64_t>(plan.kept[i].size());
    less.push_back(std::max<int64_t>(0, kept - std::max<int64_t>(1, sub->units / 8)));
    std::vector<Replacement> refits =
        Refit(scores->curvatures[i], *sub, {plan.kept[i], KeptUnits(scores->curves[i], less[i])},
              damping);
    refits.push_back(Whole(*sub));
    if (dense.streamed) {
      for (Replacement& one : refits) one = PutAway(one);
    }
    cuts.push_back(refits[0]);
    if (sub->units == 0) continue;
    others[i] = {refits[0], refits[2], refits[1]};
  }
  const bool language = dense.spec.task == Task::kLanguageModel;
  const std::vector<std::vector<double>> measured =
      MeasureReplacements(dense, MeasuredSamples(held_out, language), others, cuts, console);
  std::vector<double> ratios(count, 0);  // measured over predicted; 0 where nothing could be told
  double sum = 0, terms = 0;
  for (size_t i = 0; i < count; ++i) {
    if (measured[i].empty()) continue;
    const ObsCurve& curve = scores->curves[i];
    const double predicted = LossAt(curve, static_cast<int64_t>(plan.kept[i].size()));
    const double changes[] = {measured[i][0] - measured[i][1], measured[i][2] - measured[i][0]};
    const double expected[] = {predicted, LossAt(curve, less[i]) - predicted};
    double logs = 0, known = 0;
    for (size_t k = 0; k < 2; ++k) {
      if (!(expected[k] > 0) || changes[k] <= 4 * scores->floor) continue;
      logs += std::log(changes[k] / expected[k]);
      ++known;
    }
    if (known == 0) continue;
    ratios[i] = std::exp(logs / known);
    sum += logs / known;
    ++terms;
  }
  // Half way, on the scale of logarithms: what is measured is noisy, and holds near this plan
  // alone.
  constexpr double kStep = 0.5, kMost = 8;
  const double usual = terms > 0 ? std::exp(sum / terms) : 1;
  for (size_t i = 0; i < count; ++i) {
    const double apart = ratios[i] > 0 ? std::clamp(ratios[i] / usual, 1 / kMost, kMost) : 1;
    const double ratio = usual * std::pow(apart, kStep);
    for (double& loss : scores->curves[i].losses) loss *= ratio;
    ScaleValues(ratio, i, &scores->heads);
    if (!scores->scales.empty()) scores->scales[i] *= ratio;
  }
}

ObsPlan PlanByLevels(const ModelSpec& spec, const ObsScores& scores, const CostTable& costs,
                     int64_t limit, const SearchLimits& limits) {
  const std::vector<Levels> table = LevelTable(spec, scores, costs, limits);
  const LevelChoice choice = ChooseLevels(table, limit - costs.fixed);
  if (choice.level.empty()) FailBudget(costs, limit, "no widths fit the budget");
  ObsPlan result{"levels", {}, choice.loss};
  for (size_t i = 0; i < table.size(); ++i) {
    const Level& level = table[i][choice.level[i]];
    result.plan.kept.push_back(KeptUnits(scores.curves[i], level.units));
    if (!scores.heads.bases.empty()) result.plan.heads.push_back(level.shape);
  }
  if (!result.plan.narrows()) result.plan.heads.clear();
  if (costs.Of(result.plan) == costs.fixed) FailBudget(costs, limit, "no unit fits the budget");
  return result;
}

std::vector<ObsPlan> MakeObsPlans(const ModelSpec& spec, const ObsScores& scores,
                                  const CostTable& costs, int64_t limit, const SearchLimits& limits,
                                  const PruneOptions& options) {
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
    plans.push_back(PlanByLevels(spec, whole, costs, limit, limits));
    plans.back().name = "whole heads";
  }
  if (wanted("fisher") || options.allocation == "fisher-units") {
    const GlobalSearchResult global =
        SearchGlobally(spec, scores.fisher, costs, limit, SearchRules::kExact, limits);
    ObsPlan fisher = AtCounts("fisher", global.plan, scores);
    if (!plans.empty() && fisher.loss > MostHopeful(spec) * plans[0].loss) return plans;
    plans.push_back(std::move(fisher));
    if (options.allocation == "fisher-units") plans.back().plan = global.plan;
  }
  return plans;
}

}  // namespace coppice
