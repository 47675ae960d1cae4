#include "pipeline/prune.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <future>

#include "core/file.h"
#include "core/json_text.h"
#include "eval/run_model.h"
#include "export/forms.h"
#include "export/gguf.h"
#include "model/device.h"
#include "pipeline/costs.h"
#include "pipeline/curve.h"
#include "pipeline/examples.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/plan_file.h"
#include "pipeline/prune_by_obs.h"
#include "pipeline/prune_options.h"
#include "pipeline/repair_model.h"
#include "pipeline/select.h"
#include "pipeline/source.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

// Scores, then one search, then one repair.
Model PruneInSteps(const Model& model, const Network& dense, const FitSamples& samples,
                   const CostTable& costs, const PruneOptions& options, const Console& console,
                   PruneReport* report) {
  StageSeconds& seconds = report->seconds;
  Scored scored;
  if (options.plan.empty()) {
    const StageClock clock(&seconds.score);
    scored = ScoreUnits(model, dense, samples.fitted, options, console, report);
    for (const at::Tensor& score : scored.scores) report->total_score += score.sum().item<double>();
  }
  {
    const StageClock clock(&seconds.search);
    const auto search = [&](const CostTable& tried) {
      return std::vector<Plan>{SearchPlan(model, scored, tried, options, console, report)};
    };
    report->plan = !options.plan.empty()
                       ? ReadPlan(options.plan)
                       : search(CostsToSearchWith(costs, search, console, report)).front();
    ValidatePlan(report->plan, UnitCounts(model.spec), options.plan.string());
  }
  scored.gradients.clear();
  Model shrunk;
  {
    const StageClock clock(&seconds.shrink);
    shrunk = Shrink(model, report->plan, dense.compute.memory);
  }
  const StageClock clock(&seconds.tune);
  return RepairModel(model, dense, scored, costs, samples, shrunk, options, console, report);
}

int64_t MemoryOf(const PruneOptions& options) {
  return options.memory.value_or(UsualMemoryBytes());
}

Compute ComputeOf(const PruneOptions& options, Purpose purpose) {
  Compute compute = ChooseCompute(options.device, options.dtype, purpose);
  compute.memory = MemoryOf(options);
  return compute;
}

std::optional<Metric> Measure(const Model& model, const Evaluation& evaluation,
                              const PruneOptions& options, const Console& console) {
  const Network net = Bind(model, ComputeOf(options, Purpose::kMeasure));
  return ComputeMetric(model.spec, evaluation.dataset, evaluation.samples,
                       RunModel(net, evaluation.samples, console));
}

std::string HashOfWeights(const Model& model) {
  std::string hashes;
  for (const std::filesystem::path& file : model.weight_files) hashes += Sha256HexOfFile(file);
  return model.weight_files.size() == 1 ? hashes : Sha256Hex(hashes);
}

// Of the files, together where there are several; empty where the model drew its own.
std::string HashOfData(const std::vector<DataPart>& parts) {
  std::string hashes;
  for (const DataPart& part : parts) {
    if (part.file != kSelf) hashes += Sha256HexOfFile(part.file);
  }
  return parts.size() == 1 ? hashes : Sha256Hex(hashes);
}

FormOptions FormOptionsOf(const PruneOptions& options) {
  return {.gguf_type = ParseGgufType(options.gguf_type),
          .vocabulary = options.vocabulary,
          .onnx_style = options.plain ? OnnxStyle::kPlain : OnnxStyle::kFused};
}

// What a form lacks is said before the work, not after it.
void CheckForms(const Model& model, const PruneOptions& options, const Console& console) {
  RequireForms(model, FormsOf(model, options), FormOptionsOf(options));
  if (!options.plan.empty()) RequireNarrowHeads(ReadPlan(options.plan), model, options);
  const std::string reason = Narrowing(model, options).reason;
  if (!reason.empty()) console.Warn(fmt::format("heads are not narrowed: {}", reason));
}

// pruned: none where the plans of a curve are all that is wanted.
void Write(const Model& model, const std::optional<Model>& pruned, const Samples& samples,
           const Console& console, PruneReport* report) {
  const PruneOptions& options = report->options;
  const FormOptions form_options = FormOptionsOf(options);
  OutputFolder folder(options.out, options.replace);
  // A large model takes as long to hash as to write.
  std::future<std::string> hash =
      std::async(std::launch::async, [&model] { return HashOfWeights(model); });
  if (pruned) {
    const std::vector<std::string> forms = FormsOf(*pruned, options);
    for (const std::string& form : forms)
      FindForm(form).write(*pruned, form_options, folder.path());
    report->forms = ProveForms(*pruned, forms, folder.path(), ProofSamples(pruned->spec, samples),
                               {options.threads, MemoryOf(options)}, console);
  }
  WriteCurve(report->curve, folder.path());
  report->model_sha256 = hash.get();
  WriteFile(folder.path() / "coppice.json", JsonText(RecordJson(*report), 2) + "\n");
  folder.Commit();
}

// Writes the folder, then measures before and after where that is asked for.
void Finish(const Model& model, const Network& dense, const std::optional<Model>& pruned,
            const Examples& examples, const Console& console, PruneReport* report) {
  report->before = MeasureSize(model, report->tokens);
  if (pruned) report->after = MeasureSize(*pruned, report->tokens);
  report->peak_memory_bytes = PeakMemoryBytes();
  report->peak_device_bytes = PeakDeviceBytes(dense.compute);
  {
    const StageClock clock(&report->seconds.write);
    report->data_sha256 = HashOfData(report->options.data);
    Write(model, pruned, examples.fitted, console, report);
  }
  report->before.bytes = BytesInFile(model.source, report->before);
  if (pruned) {
    report->after.bytes =
        BytesInFile(report->options.out / report->forms.front().file, report->after);
  }
  if (pruned && !report->options.eval.empty()) {
    report->eval_before = Measure(model, examples.evaluation, report->options, console);
    report->eval_after = Measure(*pruned, examples.evaluation, report->options, console);
  }
}

void DescribeModel(const Model& model, PruneReport* report) {
  for (const SubLayerSpec& sub : model.spec.sub_layers) report->sub_layers.push_back(sub.output);
  report->units = UnitCounts(model.spec);
}

}  // namespace

PruneReport Prune(const PruneOptions& options, const Console& console) {
  const double start = Now();
  CheckPruneOptions(options);
  std::vector<std::filesystem::path> inputs = {options.model, options.eval, options.plan,
                                               options.vocabulary};
  for (const DataPart& part : options.data) inputs.push_back(part.file);
  RefuseToReplace(inputs, options.out);
  {
    const OutputFolder probe(options.out, options.replace);
  }  // refuse before the work, not after it
  UseThreads(options.threads);
  PruneReport report;
  report.options = options;
  StageSeconds& seconds = report.seconds;
  const Compute compute = ComputeOf(options, Purpose::kCalibrate);
  report.device = DeviceName(compute);
  report.dtype = DtypeName(compute);

  Model model;
  Network dense;
  std::optional<Tokenizer> tokenizer;
  {
    const StageClock clock(&seconds.load);
    model = LoadModel(options.model);
    RefuseImageOptions(model.spec, options.images);
    CheckForms(model, options, console);
    if (model.spec.image.grid == 0) tokenizer = LoadTokenizer(model);
    dense = Bind(model, compute);
    DescribeModel(model, &report);
    report.images = model.spec.image.grid > 0;
  }
  Examples examples;
  {
    const StageClock clock(&seconds.calibrate);
    examples = ReadExamples(model, dense, tokenizer, console, &report);
  }
  const CostTable costs = MakeCosts(model, console, &report);
  const FitSamples fit{examples.fitted, examples.held_out};
  const std::optional<Model> pruned =
      options.method == "obs" ? PruneByObs(model, dense, fit, costs, options, console, &report)
                              : PruneInSteps(model, dense, fit, costs, options, console, &report);
  if (pruned)
    report.kept = static_cast<double>(costs.Of(report.plan)) / static_cast<double>(costs.Dense());
  if (pruned && report.latency) {
    MeasureResult(*pruned, report.plan, console, &*report.latency);
    report.kept = report.latency->result->share();
  }
  Finish(model, dense, pruned, examples, console, &report);
  seconds.total = Now() - start;
  return report;
}

}  // namespace coppice
