#include "pipeline/prune.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "calibrate/overlap.h"
#include "calibrate/text_windows.h"
#include "core/error.h"
#include "core/file.h"
#include "eval/run_model.h"
#include "export/forms.h"
#include "export/gguf.h"
#include "load/strict_json.h"
#include "model/device.h"
#include "pipeline/contest.h"
#include "pipeline/costs.h"
#include "pipeline/curve.h"
#include "pipeline/narrow_heads.h"
#include "pipeline/obs.h"
#include "pipeline/prune_options.h"
#include "pipeline/select.h"
#include "pipeline/source.h"
#include "search/global_search.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

struct Evaluation {
  Dataset dataset;
  Samples samples;
};

// Of eight samples that are fitted, one more is drawn to choose by.
constexpr int64_t kFittedPerHeldOut = 8;

Samples Calibrate(const Network& dense, const Tokenizer& tokenizer, const PruneOptions& options,
                  const Console& console) {
  constexpr int64_t kSamples = 2048, kWindows = 32;
  const bool language = dense.spec.task == Task::kLanguageModel;
  const bool answering = dense.spec.task == Task::kQuestionAnswering;
  int64_t count = options.samples.value_or(language ? kWindows : kSamples);
  if (options.method == "obs") count += (count + kFittedPerHeldOut - 1) / kFittedPerHeldOut;
  return DrawCalibration(dense, tokenizer, options.data,
                         {.count = count,
                          .seed = options.seed,
                          .with_replacement = options.as_published,
                          .max_length = options.length > 0 ? options.length
                                        : language         ? kTextWindow
                                        : answering        ? int64_t{kSquadLength}
                                                           : 128},
                         console);
}

ImageCalibrationOptions ImagesOf(const PruneOptions& options) {
  constexpr int64_t kImages = 2048;
  ImageCalibrationOptions images = options.images;
  if (options.data.size() > 1) {
    ThrowUsage({.what = "a model of images is calibrated on one file",
                .where = "--data",
                .expected = "a .safetensors file, or self"});
  }
  images.data = options.data.front().file;
  images.count = options.samples.value_or(kImages);
  images.seed = options.seed;
  return images;
}

// Chosen on development data (BENCHMARKS.md).
double Ridge(const ModelSpec& spec, const PruneOptions& options) {
  return options.ridge.value_or(spec.task == Task::kLanguageModel ? 0.3 : 0.03);
}

TuneOptions RepairOptions(const Model& model, const PruneOptions& options) {
  const Method& method = FindMethod(options.method);
  TuneOptions tune;
  tune.ridge = Ridge(model.spec, options);
  tune.repair = options.repair ? ParseRepair(*options.repair) : method.repair;
  tune.target = options.target ? ParseTarget(*options.target) : method.target;
  tune.published = options.as_published && options.method == "fisher";
  return tune;
}

Model WithRepair(const Model& shrunk, const TuneResult& result, const Console& console,
                 PruneReport* report) {
  report->repairs = result.records;
  for (const TuneRecord& record : result.records) {
    if (!record.note.empty()) console.Note(fmt::format("  {}: {}", record.output, record.note));
  }
  return WithTensors(shrunk, result.tensors);
}

Model RepairModel(const Model& model, const Network& dense, const Scored& scored,
                  const CostTable& costs, const FitSamples& samples, const Model& shrunk,
                  const PruneOptions& options, const Console& console, PruneReport* report) {
  TuneOptions tune = RepairOptions(model, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) return shrunk;
  if (!tune.published)
    return WithRepair(shrunk, Tune(dense, shrunk, samples, tune, console), console, report);
  // The published teacher is itself pruned, to the square root of the budget.
  const Plan milder =
      SearchGlobally(model.spec, scored.scores, costs, BudgetLimit(costs, std::sqrt(*options.keep)),
                     SearchRules::kPublished)
          .plan;
  const Network teacher = Bind(Shrink(model, milder, dense.compute.memory), dense.compute);
  tune.unpruned = &dense;
  return WithRepair(shrunk, Tune(teacher, shrunk, samples, tune, console), console, report);
}

Plan ReadPlan(const std::filesystem::path& file) {
  constexpr JsonLimits kLimits = {.depth = 16, .values = 1000000};
  return PlanFromJson(
      ParseStrictJson<nlohmann::ordered_json>(ReadFile(file), file, "plan", kLimits),
      file.string());
}

std::vector<Plan> PlansOf(const std::vector<ObsPlan>& plans) {
  std::vector<Plan> result;
  for (const ObsPlan& plan : plans) result.push_back(plan.plan);
  return result;
}

// No model where the curve alone is wanted.
std::optional<Model> PruneByObs(const Model& model, const Network& dense, const FitSamples& samples,
                                const CostTable& table, const PruneOptions& options,
                                const Console& console, PruneReport* report) {
  std::vector<ObsPlan> plans;
  std::vector<HeadBasis> bases;
  if (!options.plan.empty()) {
    plans = {{"plan", ReadPlan(options.plan), 0}};
    ValidatePlan(plans[0].plan, UnitCounts(model.spec), options.plan.string());
    ValidateHeads(plans[0].plan, HeadShapes(model.spec), options.plan.string());
    const StageClock clock(&report->seconds.score);
    if (plans[0].plan.narrows()) bases = BasesOfPlan(model, dense, samples, options, console);
  } else {
    ObsScores scores;
    {
      const StageClock clock(&report->seconds.score);
      scores = MakeObsScores(model, dense, samples, options, console, report);
    }
    const StageClock clock(&report->seconds.search);
    const SearchLimits limits = LimitsOf(model.spec, options);
    report->curve = MakeCurve(model.spec, scores, table, options.curve, limits);
    if (!options.keep) return {};
    const auto search = [&](const CostTable& costs) {
      return MakeObsPlans(model.spec, scores, costs, BudgetLimit(costs, *options.keep), limits,
                          options);
    };
    const CostTable costs = CostsToSearchWith(
        table, [&](const CostTable& tried) { return PlansOf(search(tried)); }, console, report);
    plans = search(costs);
    for (int64_t round = 1; round <= options.rounds && plans.front().name == "levels"; ++round) {
      const Plan around = round == 1 ? plans.front().plan : plans.back().plan;
      Remeasure(dense, samples.held_out, around, options, console, &scores);
      plans.push_back(
          PlanByLevels(model.spec, scores, costs, BudgetLimit(costs, *options.keep), limits));
      plans.back().name = fmt::format("levels, round {}", round);
    }
    bases = scores.heads.bases;
  }
  const StageClock clock(&report->seconds.tune);
  const TuneOptions tune = RepairOptions(model, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) {
    report->plan = plans.front().plan;
    return Shrink(InBasis(model, report->plan, bases), report->plan, dense.compute.memory);
  }
  const Repaired repaired =
      RunContest(model, dense, samples, {plans, bases}, tune, options.align, console, report);
  return WithRepair(repaired.shrunk, repaired.result, console, report);
}

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
  WriteFile(folder.path() / "coppice.json", RecordJson(*report).dump(2) + "\n");
  folder.Commit();
}

// tokenizer: of models of text.
void ReadExamples(const Model& model, const Network& dense,
                  const std::optional<Tokenizer>& tokenizer, const Console& console,
                  Samples* samples, Samples* held_out, Evaluation* evaluation,
                  PruneReport* report) {
  const PruneOptions& options = report->options;
  *samples = tokenizer ? Calibrate(dense, *tokenizer, options, console)
                       : CalibrateOnImages(dense, ImagesOf(options), console);
  if (options.method == "obs" && samples->samples.size() > 1) {
    const auto drawn = static_cast<int64_t>(samples->samples.size());
    *held_out = TakeEvery(std::min(kFittedPerHeldOut + 1, drawn), samples);
  }
  report->held_out = static_cast<int64_t>(held_out->samples.size());
  report->samples = static_cast<int64_t>(samples->samples.size());
  report->calibration_tokens = samples->tokens();
  report->tokens = options.at_length.value_or(samples->mean_tokens());
  if (!options.eval.empty() && !tokenizer) {
    evaluation->samples = ReadImageSamples(model.spec, options.eval, {});
  } else if (!options.eval.empty()) {
    evaluation->dataset = ReadDataset(options.eval);
    evaluation->samples =
        DrawSamples(model.spec, *tokenizer, evaluation->dataset, {}, /*need_labels=*/true);
  }
  const double seen =
      std::max(SeenShare(*samples, evaluation->samples), SeenShare(*held_out, evaluation->samples));
  if (seen > 0) {
    console.Warn(
        fmt::format("{:.1f} % of the samples of {} were seen in calibration: its figures "
                    "flatter the pruned model",
                    100 * seen, options.eval.string()));
  }
}

// Writes the folder, then measures before and after where that is asked for.
void Finish(const Model& model, const Network& dense, const std::optional<Model>& pruned,
            const Samples& samples, const Evaluation& evaluation, const Console& console,
            PruneReport* report) {
  report->before = MeasureSize(model, report->tokens);
  if (pruned) report->after = MeasureSize(*pruned, report->tokens);
  report->peak_memory_bytes = PeakMemoryBytes();
  report->peak_device_bytes = PeakDeviceBytes(dense.compute);
  {
    const StageClock clock(&report->seconds.write);
    report->data_sha256 = HashOfData(report->options.data);
    Write(model, pruned, samples, console, report);
  }
  if (pruned && !report->options.eval.empty()) {
    report->eval_before = Measure(model, evaluation, report->options, console);
    report->eval_after = Measure(*pruned, evaluation, report->options, console);
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
    CheckForms(model, options, console);
    if (model.spec.image.grid == 0) tokenizer = LoadTokenizer(model);
    dense = Bind(model, compute);
    DescribeModel(model, &report);
    report.images = model.spec.image.grid > 0;
  }
  Samples samples, held_out;
  Evaluation evaluation;
  {
    const StageClock clock(&seconds.calibrate);
    ReadExamples(model, dense, tokenizer, console, &samples, &held_out, &evaluation, &report);
  }
  const CostTable costs = MakeCosts(model, console, &report);
  const FitSamples fit{samples, held_out};
  const std::optional<Model> pruned =
      options.method == "obs" ? PruneByObs(model, dense, fit, costs, options, console, &report)
                              : PruneInSteps(model, dense, fit, costs, options, console, &report);
  if (pruned)
    report.kept = static_cast<double>(costs.Of(report.plan)) / static_cast<double>(costs.Dense());
  if (pruned && report.latency) {
    MeasureResult(*pruned, report.plan, console, &*report.latency);
    report.kept = report.latency->result->share();
  }
  Finish(model, dense, pruned, samples, evaluation, console, &report);
  seconds.total = Now() - start;
  return report;
}

}  // namespace coppice
