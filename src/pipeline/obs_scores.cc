#include "pipeline/obs_scores.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "model/at_once.h"
#include "model/device.h"
#include "pipeline/measured_levels.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/select.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"

namespace coppice {
namespace {

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

// Those that gradients are taken of: every second one, of few tokens all. Twice as many gave no
// better plans (bench/HISTORY.md).
Samples ScoredSamples(const Samples& samples) {
  constexpr int64_t kFewTokens = 16384;
  Samples rest = samples;
  const bool few = samples.tokens() < kFewTokens || samples.samples.size() < 2;
  return few ? rest : TakeEvery(2, &rest);
}

// Rounds refit every sub-layer again, whose moments must be there.
bool KeepsCurvatures(const Network& dense, const FitSamples& samples, const PruneOptions& options,
                     const Console& console) {
  if (options.rounds == 0 || samples.held_out.samples.empty()) return false;
  if (!dense.streamed) return true;
  console.Warn("no --rounds: the model does not fit the memory that it may take");
  return false;
}

// What stays the same from sub-layer to sub-layer.
struct Sweeps {
  const Model& model;
  const Network& dense;
  const PruneOptions& options;
  HeadParts parts;
  std::vector<ReaderMoments> moments;  // of every sub-layer, where keys are narrowed
  bool measures;                       // there are samples to measure levels on
  bool keeps_curvatures;               // for rounds
  double damping;
};

ObsOptions HowToSweep(const Sweeps& sweeps, size_t index) {
  return {.damping = sweeps.damping, .fit_bias = sweeps.dense.sub_layers[index].out.bias.defined()};
}

// The widths of a sub-layer that are measured.
std::vector<int64_t> CountsOf(const Sweeps& sweeps, size_t index) {
  if (!sweeps.measures) return {};
  return MeasuredCounts(sweeps.model.spec, sweeps.options, sweeps.model.spec.sub_layers[index]);
}

// Sub-layers whose sweeps wait for each other.
struct Waiting {
  std::vector<size_t> sub_layers;
  std::vector<Curvature> curvatures;  // of each
  int64_t bytes = 0;                  // that sweeps of all need, about

  void Add(size_t index, Curvature curvature) {
    const int64_t inputs = curvature.input_sum.size(0);
    bytes += 40 * inputs * inputs;  // the sums of X'X, A^-1 and what updates it
    sub_layers.push_back(index);
    curvatures.push_back(std::move(curvature));
  }

  // Whether each of several threads finds two to sweep.
  bool Occupies(int64_t threads) const {
    return threads > 1 && static_cast<int64_t>(sub_layers.size()) >= 2 * threads;
  }
};

// Whether enough wait. A GPU runs the sweeps of several sub-layers in the time of one, a CPU one on
// each thread, of attention and feed-forward in turn. In a network that streams there is no room.
bool EnoughWait(const Network& dense, const Waiting& waiting) {
  constexpr int64_t kOfGpu = int64_t{6} << 30, kOfCpu = int64_t{2} << 30;
  if (dense.streamed) return true;
  if (dense.compute.device.is_cuda()) return waiting.bytes > kOfGpu;
  return waiting.bytes > kOfCpu || waiting.Occupies(AtOnce(dense.compute));
}

using Refits = std::map<int64_t, at::Tensor>;  // by units left

// Places in `waiting` that share a sweep: on a GPU all of a shape, on the CPU each its own.
std::vector<std::vector<size_t>> SweptTogether(const Network& dense, const Waiting& waiting) {
  using Shape = std::tuple<size_t, int64_t, int64_t, bool>;  // its own, inputs, a unit's, bias
  std::map<Shape, std::vector<size_t>> alike;
  for (size_t k = 0; k < waiting.sub_layers.size(); ++k) {
    const SubLayer& sub = dense.sub_layers[waiting.sub_layers[k]];
    const size_t apart = dense.compute.device.is_cpu() ? k : 0;
    alike[{apart, sub.units * sub.width, sub.width, sub.out.bias.defined()}].push_back(k);
  }
  std::vector<std::vector<size_t>> groups;
  groups.reserve(alike.size());
  for (auto& [shape, places] : alike) groups.push_back(std::move(places));
  return groups;
}

// The curves of those that wait; the refits of each that are measured.
std::vector<Refits> AddCurves(const Sweeps& sweeps, const Waiting& waiting, ObsScores* scores) {
  std::vector<Refits> refits(waiting.sub_layers.size());
  const auto sweep = [&](const std::vector<size_t>& places) {
    std::vector<SweepOf> of;
    of.reserve(places.size());
    for (const size_t k : places)
      of.push_back({&waiting.curvatures[k], OutputProjection(sweeps.model, waiting.sub_layers[k])});
    const size_t first = waiting.sub_layers[places[0]];
    std::vector<Swept> swept = MakeObsCurves(of, sweeps.dense.sub_layers[first].width,
                                             HowToSweep(sweeps, first), CountsOf(sweeps, first));
    for (size_t k = 0; k < places.size(); ++k) {
      scores->curves[waiting.sub_layers[places[k]]] = std::move(swept[k].curve);
      refits[places[k]] = std::move(swept[k].refits);
    }
  };
  const std::vector<std::vector<size_t>> groups = SweptTogether(sweeps.dense, waiting);
  if (waiting.Occupies(AtOnce(sweeps.dense.compute))) {
    ForEachAtOnce(sweeps.dense.compute, static_cast<int64_t>(groups.size()),
                  [&](int64_t k) { sweep(groups[static_cast<size_t>(k)]); });
  } else {
    for (const std::vector<size_t>& places : groups) sweep(places);
  }
  return refits;
}

// A sub-layer's heads in their basis with the levels of narrower values.
void AddBasis(const Sweeps& sweeps, size_t index, const Curvature& curvature, ObsScores* scores) {
  if (!sweeps.parts.any()) return;
  HeadLevels& heads = scores->heads;
  heads.bases[index] =
      MakeHeadBasis(sweeps.model, sweeps.dense, index, curvature, sweeps.moments, sweeps.parts);
  if (!heads.bases[index].values.defined()) return;
  heads.values[index] =
      MakeValueLevels(curvature, OutputProjection(sweeps.model, index), scores->curves[index],
                      heads.bases[index].values, HowToSweep(sweeps, index));
}

size_t FirstWithUnits(const Network& dense) {
  const auto found = std::find_if(dense.sub_layers.begin(), dense.sub_layers.end(),
                                  [](const SubLayer& sub) { return sub.units > 0; });
  return static_cast<size_t>(found - dense.sub_layers.begin());
}

// What is to be measured of a sub-layer. refits: by units kept, of the sweep.
void AddMeasured(const Sweeps& sweeps, size_t index, const SubLayer& sub,
                 const Curvature& curvature, const std::map<int64_t, at::Tensor>& refits,
                 const ObsScores& scores, MeasuredLevels* levels) {
  for (const int64_t units : CountsOf(sweeps, index)) {
    const auto refit = refits.find(units);
    if (refit == refits.end()) continue;  // the sweep did not come by
    levels->counts[index].push_back(units);
    levels->refits[index].push_back(
        ReplacementBy(refit->second, KeptUnits(scores.curves[index], units), curvature, sub));
  }
  if (levels->counts[index].empty()) return;
  if (index == FirstWithUnits(sweeps.dense)) levels->refits[index].push_back(Whole(sub));
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
  const Samples scored = ScoredSamples(samples.fitted);
  MaskGradientOptions how = GradientOptions(dense, scored, options);
  how.curvature = true;
  report->labels = how.labels;
  Sweeps sweeps = {model,
                   dense,
                   options,
                   PartsOf(model, dense, options, console),
                   {},
                   !samples.held_out.samples.empty(),
                   KeepsCurvatures(dense, samples, options, console),
                   ObsDamping(model.spec, options)};
  if (sweeps.parts.keys) sweeps.moments = MomentsOfReaders(dense, samples, console);
  const size_t count = dense.sub_layers.size();
  ObsScores scores = Sized(count, sweeps.parts, sweeps.keeps_curvatures);
  MeasuredLevels levels{std::vector<std::vector<int64_t>>(count),
                        std::vector<std::vector<Replacement>>(count),
                        std::vector<std::vector<Replacement>>(count)};
  std::optional<Progress> progress;  // of the sweeps, once they begin
  Waiting waiting;
  const auto sweep = [&] {
    if (dense.streamed) ReleaseKeptMemory(dense.compute);
    const auto refits = AddCurves(sweeps, waiting, &scores);
    for (size_t k = 0; k < waiting.sub_layers.size(); ++k) {
      const size_t i = waiting.sub_layers[k];
      const Curvature& curvature = waiting.curvatures[k];
      AddBasis(sweeps, i, curvature, &scores);
      if (sweeps.measures)
        AddMeasured(sweeps, i, *Fetch(dense, i), curvature, refits[k], scores, &levels);
      if (sweeps.keeps_curvatures) scores.curvatures[i] = std::move(waiting.curvatures[k]);
      progress->Step();
    }
    waiting = {};
  };
  // What is known of a sub-layer is used up here, so that few Gram matrices are there at a time.
  const auto visit = [&](size_t i, SubLayerGradients* gradients) {
    CheckLoss(gradients->mean_loss, options);
    report->calibration_loss = gradients->mean_loss;
    if (!progress) progress.emplace(console, "sweep", static_cast<int64_t>(count));
    scores.fisher[i] = FisherScores(gradients->rows);
    gradients->rows.reset();
    waiting.Add(i, std::move(gradients->curvature));
    if (EnoughWait(dense, waiting)) sweep();
  };
  VisitMaskGradients(dense, scored, how, console, visit);
  sweep();
  progress.reset();
  if (sweeps.measures) MeasureLevels(dense, samples.held_out, levels, console, &scores);
  return scores;
}

std::vector<HeadBasis> BasesOfPlan(const Model& model, const Network& dense,
                                   const FitSamples& samples, const PruneOptions& options,
                                   const Console& console) {
  const Samples scored = ScoredSamples(samples.fitted);
  MaskGradientOptions how = GradientOptions(dense, scored, options);
  how.curvature = true;
  const std::vector<ReaderMoments> moments = MomentsOfReaders(dense, samples, console);
  std::vector<HeadBasis> bases(dense.sub_layers.size());
  VisitMaskGradients(dense, scored, how, console, [&](size_t i, SubLayerGradients* gradients) {
    bases[i] = MakeHeadBasis(model, dense, i, gradients->curvature, moments, {true, true});
  });
  return bases;
}

}  // namespace coppice
