#include "tune/tune.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/error.h"
#include "model/device.h"
#include "model/forward.h"
#include "tune/align.h"
#include "tune/gauss_newton.h"
#include "tune/published_tuning.h"
#include "tune/student.h"

namespace coppice {
namespace {

// Unit inputs of one sub-layer kept between the two passes, at most; beyond it they are computed
// again.
int64_t KeptInputBytes(const Compute& compute) {
  return int64_t{compute.device.is_cuda() ? 5 : 1} << 30;
}

// Share of what is left that an inner step has to promise, since a refit follows it.
constexpr double kWorthwhile = 0.01;

// Of few samples, one in so many is held out to check the repair by.
constexpr int64_t kFewPerHeldOut = 4;

// The student on its way through the sub-layers.
struct Repairing {
  const Network& teacher;
  const TuneOptions& options;
  Student student;
  std::vector<Streams> streams;
  bool stopped = false;  // the published tuning
  TuneResult result = {};
};

int64_t BatchTokens(const Network& teacher, const TuneOptions& options) {
  if (options.batch_tokens > 0) return options.batch_tokens;
  const int64_t usual = UsualBatchTokens(teacher.compute.device);
  return teacher.compute.device.is_cpu() ? usual : std::max(usual, PackedTokens(teacher));
}

RepairResult NoChange(const Moments& moments) {
  return {at::zeros_like(moments.cross), at::zeros_like(moments.residual_sum), 0, 0};
}

bool TooFewTokens(int64_t tokens, int64_t inputs, const TuneOptions& options) {
  return static_cast<double>(tokens) < options.tokens_per_input * static_cast<double>(inputs);
}

// Whether least squares has too little to go by in some sub-layer and nothing to be checked with.
bool WantsCheck(const Network& student, const FitSamples& samples, const TuneOptions& options) {
  if (options.published || options.repair != Repair::kLeastSquares) return false;
  if (!samples.held_out.samples.empty() || samples.fitted.samples.size() < kFewPerHeldOut)
    return false;
  const int64_t tokens = samples.fitted.tokens();
  return std::any_of(
      student.sub_layers.begin(), student.sub_layers.end(),
      [&](const SubLayer& sub) { return TooFewTokens(tokens, sub.units * sub.width, options); });
}

// One sub-layer's change of the output projection.
RepairResult Solve(const SplitMoments& moments, const Student& student, size_t index,
                   const TuneOptions& options, TuneRecord* record) {
  const SubLayer& sub = student.net().sub_layers[index];
  const bool fit_bias = sub.out.bias.defined();
  record->repair = options.repair;
  if (options.repair == Repair::kLeastSquares && moments.held_out.tokens > 0) {
    return SolveByHeldOut(moments, options.ridge, fit_bias);
  }
  if (options.repair == Repair::kLeastSquares &&
      TooFewTokens(moments.fitted.tokens, sub.units * sub.width, options)) {
    record->repair = Repair::kScales;
    record->note = fmt::format("{} tokens are too few for least squares on {} inputs",
                               moments.fitted.tokens, sub.units * sub.width);
  }
  switch (record->repair) {
    case Repair::kLeastSquares:
      return SolveLeastSquares(moments.fitted, options.ridge, fit_bias);
    case Repair::kScales:
      return SolveScales(moments.fitted, student.OutputWeight(index), sub.width, options.ridge,
                         fit_bias);
    case Repair::kBias:
      return SolveBias(moments.fitted);
    case Repair::kNone:
      break;
  }
  return NoChange(moments.fitted);
}

// The published rules: no bias, layer 0's attention left alone, everything after a failure left
// alone.
RepairResult SolvePublished(const Moments& moments, size_t index, Repairing* repairing,
                            TuneRecord* record) {
  const SubLayer& sub = repairing->student.net().sub_layers[index];
  RepairResult result = NoChange(moments);
  record->repair = Repair::kNone;
  if (index == 0) {
    record->note = "the published tuning skips the first attention";
    return result;
  }
  if (sub.units == 0) return result;  // skipped
  if (repairing->stopped) {
    record->note = "the published tuning stopped before";
    return result;
  }
  const at::Tensor weight = repairing->student.OutputWeight(index);
  const PublishedScales solved = SolvePublishedScales(moments, weight, sub.kind, sub.width);
  if (!solved.accepted) {
    repairing->stopped = true;
    record->note = "the published tuning stops here: " + solved.reason;
    return result;
  }
  record->repair = Repair::kScales;
  const at::Tensor change = (solved.scales - 1).repeat_interleave(sub.width).unsqueeze(1);
  result.weight_change = weight.to(at::kCPU, at::kDouble) * change;
  return result;
}

void Align(size_t index, Repairing* repairing, TuneRecord* record) {
  constexpr double kRidge = 1e-2;
  const Student& student = repairing->student;
  const SubLayerSpec& spec = student.spec(index);
  if (index == 0 || spec.units == 0) return;  // the streams are still one; or nothing reads
  const SplitMoments moments =
      InputMoments(repairing->teacher, student.net(), index, &repairing->streams);
  const bool fit_bias = ReadersHaveBias(student.model(), spec);
  const RepairResult alignment = moments.held_out.tokens > 0
                                     ? SolveByHeldOut(moments, kRidge, fit_bias)
                                     : SolveLeastSquares(moments.fitted, kRidge, fit_bias);
  record->aligned = moments.held_out.tokens > 0 ? alignment.held_out : alignment.explained;
  record->aligned_damping = alignment.damping;
  repairing->student.Put(index, FoldAlignment(student.model(), spec, alignment));
}

// Whether a fit to the sub-layer's own target may compete with one to the drift: of few tokens the
// drift of all layers before may be more than can be learnt.
bool OwnCompetes(const SubLayerSpec& spec, const Repairing& repairing) {
  const TuneOptions& options = repairing.options;
  if (options.published || options.repair != Repair::kLeastSquares ||
      options.target != Target::kDrift)
    return false;
  int64_t tokens = 0;
  bool held_out = false;
  for (const Streams& s : repairing.streams) {
    held_out = held_out || s.held_out;
    if (!s.held_out) tokens += s.batch.real.numel();
  }
  return held_out && TooFewTokens(tokens, spec.units * spec.width, options);
}

// Whether inner steps follow the fit: of channels that are not so many that a matrix of theirs
// would take longer than all else.
bool TakesInnerSteps(size_t index, const SubLayerSpec& spec, const Repairing& repairing) {
  constexpr int64_t kMostPreActivations = 8192;
  const TuneOptions& options = repairing.options;
  const SubLayer& dense = repairing.teacher.sub_layers[index];
  return options.inner_steps > 0 && options.repair == Repair::kLeastSquares &&
         options.target != Target::kDense && !options.published && spec.units > 0 &&
         spec.kind == UnitKind::kChannel &&
         dense.units * (dense.gated ? 2 : 1) <= kMostPreActivations;
}

// Energy that a fit leaves of the residual on the samples that judge it.
double LeftBy(const SplitMoments& moments, const RepairResult& repair) {
  return moments.held_out.tokens > 0 ? moments.held_out.residual_energy * (1 - repair.held_out)
                                     : moments.fitted.residual_energy * (1 - repair.explained);
}

// A refit with the ridge that was found before; no change where it does not help.
RepairResult SolveAgain(const SplitMoments& moments, double ridge, bool fit_bias) {
  RepairResult result = SolveLeastSquares(moments.fitted, ridge, fit_bias);
  if (moments.held_out.tokens == 0) return result;
  result.held_out = Explained(moments.held_out, result);
  return result.held_out > 0 ? result : NoChange(moments.fitted);
}

// Steps and refits after the first fit, which has been put, for as long as they promise something.
void TakeInnerSteps(size_t index, bool keep_inputs, double left, Repairing* repairing,
                    TuneRecord* record) {
  Student& student = repairing->student;
  const bool fit_bias = student.net().sub_layers[index].out.bias.defined();
  const double first = left;
  for (int64_t step = 0; step < repairing->options.inner_steps; ++step) {
    const GaussNewtonStep inner = MakeGaussNewtonStep(student, index, repairing->streams);
    if (inner.tensors.empty() || inner.explained < kWorthwhile) break;
    student.Put(index, inner.tensors);
    const SplitMoments moments =
        RefitMoments(student.net(), index, keep_inputs, &repairing->streams);
    const RepairResult repair = SolveAgain(moments, record->damping, fit_bias);
    left = LeftBy(moments, repair);
    student.Put(index, repair);
  }
  if (first > 0) record->inner = 1 - left / first;
}

void RepairOne(size_t index, Repairing* repairing) {
  const TuneOptions& options = repairing->options;
  const Network& student = repairing->student.net();
  const SubLayerSpec& spec = repairing->student.spec(index);
  const size_t count = student.sub_layers.size();
  const Task task = student.spec.task;
  const bool pooled = task == Task::kClassification || task == Task::kRegression;
  TuneRecord record;
  record.output = spec.output;
  record.target = options.target;
  if (options.align) Align(index, repairing, &record);
  const int64_t input_bytes = TokensOf(repairing->streams) * spec.units * spec.width *
                              static_cast<int64_t>(c10::elementSize(student.compute.dtype));
  const bool keep_inputs = input_bytes <= KeptInputBytes(student.compute);
  const bool inner = TakesInnerSteps(index, spec, *repairing);
  const SplitMoments moments =
      FitMoments(repairing->teacher, student, index,
                 {.target = options.target,
                  .first_only = options.published && pooled && index + 1 == count,
                  .keep_inputs = keep_inputs,
                  .keep_target = inner,
                  .own_rival = OwnCompetes(spec, *repairing),
                  .next_is_known = !options.align,
                  .unpruned = options.unpruned},
                 &repairing->streams);
  RepairResult repair = options.published
                            ? SolvePublished(moments.fitted, index, repairing, &record)
                            : Solve(moments, repairing->student, index, options, &record);
  if (repair.rival) record.target = Target::kOwn;
  record.explained = repair.explained;
  record.damping = repair.damping;
  if (moments.held_out.tokens > 0) {
    const bool known = record.repair == Repair::kLeastSquares && !options.published;
    record.held_out = known ? repair.held_out : Explained(moments.held_out, repair);
  }
  if (record.repair != Repair::kNone) repairing->student.Put(index, repair);
  // What is fitted to its own target has too few tokens to fit more.
  if (inner && !repair.rival && record.repair == Repair::kLeastSquares &&
      std::isfinite(repair.damping))
    TakeInnerSteps(index, keep_inputs, LeftBy(moments, repair), repairing, &record);
  repairing->result.records.push_back(std::move(record));
}

}  // namespace

TuneResult Tune(const Network& teacher, const Model& model, const FitSamples& samples,
                const TuneOptions& options, const Console& console) {
  at::NoGradGuard no_gradients;
  if (teacher.streamed) ReleaseKeptMemory(teacher.compute);
  Student student(model, teacher.compute, teacher.streamed);
  Samples fitted, checked_by;
  const bool check = WantsCheck(student.net(), samples, options);
  if (check) {
    fitted = samples.fitted;
    checked_by = TakeEvery(kFewPerHeldOut, &fitted);
  }
  Repairing repairing{teacher, options, std::move(student),
                      StartStreams(teacher, check ? FitSamples{fitted, checked_by} : samples,
                                   BatchTokens(teacher, options))};
  const size_t count = repairing.student.net().sub_layers.size();
  Check(teacher.sub_layers.size() == count, "teacher and student have different layers");
  std::optional<Progress> alone;
  Progress& progress = options.progress != nullptr
                           ? *options.progress
                           : alone.emplace(console, "repair", static_cast<int64_t>(count));
  for (size_t i = 0; i < count; ++i) {
    RepairOne(i, &repairing);
    if (options.target != Target::kDense) Advance(repairing.student.net(), i, &repairing.streams);
    repairing.student.Settle(i);
    progress.Step();
  }
  repairing.result.tensors = repairing.student.Take();
  if (!samples.held_out.samples.empty() && options.target != Target::kDense) {
    repairing.result.held_out =
        HeldOutDivergence(teacher, repairing.student.net(), repairing.streams);
  }
  return std::move(repairing.result);
}

Target ParseTarget(const std::string& name) {
  for (const Target target : {Target::kDrift, Target::kOwn, Target::kDense}) {
    if (TargetName(target) == name) return target;
  }
  ThrowUsage({.what = "unknown target",
              .where = "--target",
              .expected = "drift, own or dense",
              .found = name});
}

std::string TargetName(Target target) {
  switch (target) {
    case Target::kDrift:
      return "drift";
    case Target::kOwn:
      return "own";
    case Target::kDense:
      return "dense";
  }
  Check(false, "unknown target");
  return {};
}

Model WithTensors(const Model& model, const std::map<std::string, at::Tensor>& tensors) {
  Model changed = model;
  for (const auto& [name, tensor] : tensors) {
    const auto old = changed.tensors.find(name);
    if (old == changed.tensors.end()) {  // a bias that was not there
      changed.tensors[name] = tensor.to(at::kCPU);
      continue;
    }
    Check(old->second.sizes().equals(tensor.sizes()), "repaired tensor has another shape: " + name);
    old->second = tensor.to(at::kCPU, old->second.scalar_type());
  }
  changed.config = ConfigWithSizes(changed.config, changed.spec, changed.tensors);
  return changed;
}

}  // namespace coppice
