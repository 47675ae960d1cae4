#include "pipeline/obs_scores.h"

#include <ATen/ATen.h>

#include <optional>

#include "pipeline/measured_levels.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/select.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"

namespace coppice {
namespace {

at::Tensor ProjectionOf(const Model& model, size_t index) {
  return model.tensors.at(model.spec.sub_layers[index].output + ".weight").t();
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
  return GatherReaderMoments(dense, MeasuredSamples(samples.fitted, dense.spec), console);
}

// What stays the same from sub-layer to sub-layer.
struct Sweeps {
  const Model& model;
  const Network& dense;
  const PruneOptions& options;
  HeadParts parts;
  std::vector<ReaderMoments> moments;  // of every sub-layer, where keys are narrowed
  bool measures;                       // there are samples to measure levels on
  double damping;
};

// The curve of a sub-layer, and its heads in their basis with the levels of narrower values.
void AddCurve(const Sweeps& sweeps, size_t index, const SubLayer& sub, const Curvature& curvature,
              ObsScores* scores) {
  const ObsOptions how = {.damping = sweeps.damping, .fit_bias = sub.out.bias.defined()};
  const at::Tensor projection = ProjectionOf(sweeps.model, index);
  scores->curves[index] = MakeObsCurve(curvature, projection, sub.width, how);
  if (!sweeps.parts.any()) return;
  HeadLevels& heads = scores->heads;
  heads.bases[index] =
      MakeHeadBasis(sweeps.model, sweeps.dense, index, curvature, sweeps.moments, sweeps.parts);
  if (!heads.bases[index].values.defined()) return;
  heads.values[index] =
      MakeValueLevels(curvature, projection, scores->curves[index], heads.bases[index].values, how);
}

// What is to be measured of a sub-layer, refitted.
void AddMeasured(const Sweeps& sweeps, size_t index, const SubLayer& sub,
                 const Curvature& curvature, const ObsScores& scores, MeasuredLevels* levels) {
  const ObsCurve& curve = scores.curves[index];
  levels->counts[index] = MeasuredCounts(sweeps.model.spec, sweeps.options, sub.units);
  if (levels->counts[index].empty()) return;
  std::vector<std::vector<int64_t>> kept;
  for (const int64_t units : levels->counts[index]) kept.push_back(KeptUnits(curve, units));
  if (index == 0) kept.push_back(KeptUnits(curve, sub.units));
  levels->refits[index] = Refit(curvature, sub, kept, sweeps.damping);
  if (sweeps.parts.keys) {
    levels->narrow_keys[index] =
        WithNarrowKeys(sweeps.model, sweeps.dense, index, scores.heads.bases);
  }
  if (!sweeps.dense.streamed) return;
  for (Replacement& one : levels->refits[index]) one = PutAway(one);
  for (Replacement& one : levels->narrow_keys[index]) one = PutAway(one);
}

ObsScores Sized(size_t sub_layers, HeadParts parts, bool rounds) {
  ObsScores scores;
  scores.fisher.resize(sub_layers);
  scores.curves.resize(sub_layers);
  if (rounds) scores.curvatures.resize(sub_layers);
  if (!parts.any()) return scores;
  scores.heads.bases.resize(sub_layers);
  scores.heads.values.resize(sub_layers);
  return scores;
}

}  // namespace

ObsScores MakeObsScores(const Model& model, const Network& dense, const FitSamples& samples,
                        const PruneOptions& options, const Console& console, PruneReport* report) {
  MaskGradientOptions how = GradientOptions(dense, samples.fitted, options);
  how.curvature = true;
  report->sampled_labels = how.labels != LabelSource::kData;
  Sweeps sweeps = {model,
                   dense,
                   options,
                   PartsOf(model, dense, options, console),
                   {},
                   !samples.held_out.samples.empty(),
                   ObsDamping(model.spec, options)};
  if (sweeps.parts.keys) sweeps.moments = MomentsOfReaders(dense, samples, console);
  const size_t count = dense.sub_layers.size();
  ObsScores scores = Sized(count, sweeps.parts, options.rounds > 0);
  MeasuredLevels levels{std::vector<std::vector<int64_t>>(count),
                        std::vector<std::vector<Replacement>>(count),
                        std::vector<std::vector<Replacement>>(count)};
  std::optional<Progress> progress;  // of the sweeps, once they begin
  // What is known of a sub-layer is used up here, so that few Gram matrices are there at a time.
  const auto visit = [&](size_t i, SubLayerGradients* gradients) {
    CheckLoss(gradients->mean_loss, options);
    report->calibration_loss = gradients->mean_loss;
    if (!progress) progress.emplace(console, "sweep", static_cast<int64_t>(count));
    const Fetched sub = Fetch(dense, i);
    scores.fisher[i] = FisherScores(gradients->rows);
    gradients->rows.reset();
    AddCurve(sweeps, i, *sub, gradients->curvature, &scores);
    if (sweeps.measures) AddMeasured(sweeps, i, *sub, gradients->curvature, scores, &levels);
    if (options.rounds > 0) scores.curvatures[i] = std::move(gradients->curvature);
    progress->Step();
  };
  VisitMaskGradients(dense, samples.fitted, how, console, visit);
  progress.reset();
  if (sweeps.measures) MeasureLevels(dense, samples.held_out, levels, console, &scores);
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

}  // namespace coppice
