#include "tune/tune.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "calibrate/residual_stream.h"
#include "core/error.h"
#include "model/forward.h"
#include "tune/published_tuning.h"

namespace coppice {
namespace {

// Unit inputs of one sub-layer kept between the two passes, at most; beyond it they are computed
// again.
constexpr int64_t kKeptInputBytes = int64_t{1} << 30;

// A batch and where the two streams stand in it.
struct Streams {
  Batch batch;
  AttentionContext context;
  ResidualStream teacher, student;
  at::Tensor inputs;  // (B, T, I) the student's unit inputs, or undefined
};

std::vector<Streams> StartStreams(const Network& teacher, const Samples& samples,
                                  const TuneOptions& options) {
  const bool on_disk = 2 * samples.tokens() * teacher.spec.width * 4 > options.stream_bytes;
  std::vector<Streams> streams;
  for (Batch& batch :
       MakeBatches(samples, teacher.spec, options.batch_tokens, teacher.compute.device)) {
    const at::Tensor hidden = Embed(teacher, batch);
    AttentionContext context = MakeContext(teacher, batch);
    streams.push_back({std::move(batch),
                       std::move(context),
                       ResidualStream(hidden, on_disk),
                       ResidualStream(hidden, on_disk),
                       {}});
  }
  return streams;
}

// Rows of (B, T, n) that take part in a fit: real tokens, or first tokens only.
at::Tensor FitRows(const Batch& batch, const at::Tensor& x, bool first_only) {
  if (first_only) return x.select(1, 0);
  return batch.padded ? x.index({batch.mask}) : x.flatten(0, 1);
}

// First pass over a sub-layer: the moments of the fit; the teacher's stream moves on.
Moments Accumulate(const Network& teacher, const Network& student, size_t index, bool first_only,
                   bool keep_inputs, Target target, std::vector<Streams>* streams) {
  const SubLayer& wanted = teacher.sub_layers[index];
  const SubLayer& present = student.sub_layers[index];
  Moments moments;
  for (Streams& s : *streams) {
    const at::Tensor of_teacher = s.teacher.Get();
    const at::Tensor of_student = s.student.Get();
    const at::Tensor& read_by_dense = target == Target::kOwn ? of_student : of_teacher;
    const at::Tensor& read_by_student = target == Target::kDense ? of_teacher : of_student;
    const at::Tensor branch =
        Project(wanted, UnitInputs(teacher, wanted, read_by_dense, s.context));
    const at::Tensor inputs = UnitInputs(student, present, read_by_student, s.context);
    at::Tensor residual = branch - Project(present, inputs);
    if (target == Target::kDrift) residual = residual + (of_teacher - of_student);
    moments.Add(FitRows(s.batch, inputs, first_only), FitRows(s.batch, residual, first_only));
    if (target != Target::kOwn) s.teacher.Set(AddBranch(teacher, wanted, of_teacher, branch));
    if (keep_inputs && target != Target::kDense) s.inputs = inputs;
  }
  return moments;
}

// Second pass: the student's stream moves on through the repaired sub-layer.
void Advance(const Network& student, size_t index, std::vector<Streams>* streams) {
  const SubLayer& sub = student.sub_layers[index];
  for (Streams& s : *streams) {
    const at::Tensor hidden = s.student.Get();
    const at::Tensor inputs =
        s.inputs.defined() ? s.inputs : UnitInputs(student, sub, hidden, s.context);
    s.student.Set(AddBranch(student, sub, hidden, Project(sub, inputs)));
    s.inputs.reset();
  }
}

RepairResult Solve(const Moments& moments, const at::Tensor& weight, const SubLayer& sub,
                   const TuneOptions& options, TuneRecord* record) {
  record->repair = options.repair;
  const auto needed =
      static_cast<int64_t>(options.tokens_per_input * static_cast<double>(sub.units * sub.width));
  if (options.repair == Repair::kLeastSquares && moments.tokens < needed) {
    record->repair = Repair::kScales;
    record->note = fmt::format("{} tokens are too few for least squares, which wants {}",
                               moments.tokens, needed);
  }
  switch (record->repair) {
    case Repair::kLeastSquares:
      return SolveLeastSquares(moments, options.ridge, sub.out.bias.defined());
    case Repair::kScales:
      return SolveScales(moments, weight, sub.width, options.ridge, sub.out.bias.defined());
    case Repair::kBias:
      return SolveBias(moments);
    case Repair::kNone:
      break;
  }
  return {at::zeros_like(moments.cross), at::zeros_like(moments.residual_sum), 0, 0};
}

// The published rules: no bias, layer 0's attention left alone, everything after a failure left
// alone.
RepairResult SolvePublished(const Moments& moments, const at::Tensor& weight, const SubLayer& sub,
                            size_t index, bool* stopped, TuneRecord* record) {
  RepairResult result{at::zeros_like(moments.cross), at::zeros_like(moments.residual_sum), 0, 0};
  record->repair = Repair::kNone;
  if (index == 0) {
    record->note = "the published tuning skips the first attention";
    return result;
  }
  if (sub.units == 0) return result;  // skipped
  if (*stopped) {
    record->note = "the published tuning stopped before";
    return result;
  }
  const PublishedScales solved = SolvePublishedScales(moments, weight, sub.kind, sub.width);
  if (!solved.accepted) {
    *stopped = true;
    record->note = "the published tuning stops here: " + solved.reason;
    return result;
  }
  record->repair = Repair::kScales;
  const at::Tensor change = (solved.scales - 1).repeat_interleave(sub.width).unsqueeze(1);
  result.weight_change = weight.to(at::kCPU, at::kDouble) * change;
  return result;
}

// Puts the repaired projection into the student and into the result. The change is added to the
// weights as the file has them, not as the compute dtype rounds them.
void Apply(const Model& model, const std::string& output, const RepairResult& repair,
           const Compute& compute, SubLayer* sub, TuneResult* result) {
  const at::Tensor weight =
      model.tensors.at(output + ".weight").to(compute.device, at::kDouble).t();
  const at::Tensor new_weight =
      (weight + repair.weight_change.to(compute.device)).t().to(at::kFloat).contiguous();
  result->tensors[output + ".weight"] = new_weight.to(at::kCPU);
  sub->out.weight = new_weight.to(compute.dtype);
  const auto bias = model.tensors.find(output + ".bias");
  const bool gets_bias = repair.bias_change.count_nonzero().item<int64_t>() > 0;
  if (bias == model.tensors.end() && !gets_bias) return;
  at::Tensor new_bias = repair.bias_change.to(compute.device);
  if (bias != model.tensors.end())
    new_bias = new_bias + bias->second.to(compute.device, at::kDouble);
  result->tensors[output + ".bias"] = new_bias.to(at::kCPU, at::kFloat);
  sub->out.bias = new_bias.to(compute.dtype);
}

}  // namespace

TuneResult Tune(const Network& teacher, const Model& model, const Samples& samples,
                const TuneOptions& options, const Console& console) {
  at::NoGradGuard no_gradients;
  Network student = Bind(model, teacher.compute);
  Check(teacher.sub_layers.size() == student.sub_layers.size(),
        "teacher and student differ in layers");
  TuneResult result;
  std::vector<Streams> streams = StartStreams(teacher, samples, options);
  const size_t count = student.sub_layers.size();
  const bool pooled =
      student.spec.task == Task::kClassification || student.spec.task == Task::kRegression;
  bool stopped = false;
  Progress progress(console, "repair", static_cast<int64_t>(count));
  for (size_t i = 0; i < count; ++i) {
    SubLayer& sub = student.sub_layers[i];
    const std::string& output = student.spec.sub_layers[i].output;
    const bool first_only = options.published && pooled && i + 1 == count;
    const int64_t input_bytes = samples.tokens() * sub.units * sub.width *
                                static_cast<int64_t>(c10::elementSize(student.compute.dtype));
    const Moments moments = Accumulate(teacher, student, i, first_only,
                                       input_bytes <= kKeptInputBytes, options.target, &streams);
    TuneRecord record;
    record.output = output;
    const at::Tensor weight =
        model.tensors.at(output + ".weight").to(teacher.compute.device, at::kDouble).t();
    const RepairResult repair = options.published
                                    ? SolvePublished(moments, weight, sub, i, &stopped, &record)
                                    : Solve(moments, weight, sub, options, &record);
    record.explained = repair.explained;
    record.damping = repair.damping;
    if (record.repair != Repair::kNone)
      Apply(model, output, repair, teacher.compute, &sub, &result);
    result.records.push_back(std::move(record));
    if (options.target != Target::kDense) Advance(student, i, &streams);
    progress.Step();
  }
  return result;
}

Target ParseTarget(const std::string& name) {
  if (name == "drift") return Target::kDrift;
  if (name == "own") return Target::kOwn;
  if (name == "dense") return Target::kDense;
  ThrowUsage({.what = "unknown target",
              .where = "--target",
              .expected = "drift, own or dense",
              .found = name});
}

Model WithTensors(const Model& model, const std::map<std::string, at::Tensor>& tensors) {
  Model changed = model;
  for (const auto& [name, tensor] : tensors) {
    const auto old = changed.tensors.find(name);
    if (old == changed.tensors.end()) {  // a bias that was not there
      changed.tensors[name] = tensor;
      continue;
    }
    Check(old->second.sizes().equals(tensor.sizes()), "repaired tensor has another shape: " + name);
    old->second = tensor.to(old->second.scalar_type());
  }
  changed.config = ConfigWithSizes(changed.config, changed.spec, changed.tensors);
  return changed;
}

}  // namespace coppice
