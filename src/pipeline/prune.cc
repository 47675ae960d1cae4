#include "pipeline/prune.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <cmath>

#include "calibrate/text_windows.h"
#include "core/error.h"
#include "core/file.h"
#include "eval/run_model.h"
#include "export/gguf.h"
#include "export/huggingface.h"
#include "load/strict_json.h"
#include "model/device.h"
#include "pipeline/obs.h"
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

void CheckOptions(const PruneOptions& options) {
  const Method& method = FindMethod(options.method);
  if (!(options.keep > 0 && options.keep <= 1)) {
    ThrowUsage({.what = "the share to keep is out of range",
                .expected = "above 0, at most 1",
                .found = fmt::format("{}", options.keep)});
  }
  if (options.repair) ParseRepair(*options.repair);
  if (options.ridge && !(*options.ridge >= 0 && std::isfinite(*options.ridge))) {
    ThrowUsage({.what = "bad value", .where = "--ridge", .expected = "0 or more"});
  }
  if (options.samples && *options.samples < 1)
    ThrowUsage({.what = "bad value", .where = "--samples", .expected = "1 or more"});
  if (options.data.empty()) {
    ThrowUsage({.what = "calibration examples are missing", .hint = "give them with --data FILE"});
  }
  if (options.as_published && !method.published) {
    ThrowUsage({.what = fmt::format("--as-published has no meaning for {}", options.method),
                .expected = "method fisher or numerical"});
  }
  if (options.channel_multiple < 1)
    ThrowUsage({.what = "bad value", .where = "--channel-multiple", .expected = "1 or more"});
  for (const std::string& form : options.forms) {
    if (form != "hf" && form != "gguf") {
      ThrowUsage({.what = "unknown form", .where = "--to", .expected = "hf, gguf", .found = form});
    }
  }
  ParseGgufType(options.gguf_type);
  if (options.as_published && (options.repair || options.uniform)) {
    ThrowUsage({.what = "--as-published leaves no choice of repair or shape",
                .hint = "drop --repair or --uniform"});
  }
}

// --force replaces a folder: never one that holds what this run reads.
void RefuseToReplaceInputs(const PruneOptions& options) {
  namespace fs = std::filesystem;
  for (const fs::path& input : {options.model, options.data, options.eval, options.plan}) {
    std::error_code error;
    fs::path at = input.empty() ? fs::path() : fs::canonical(input, error);
    for (; !at.empty() && !error; at = at.parent_path()) {
      std::error_code absent;
      if (fs::equivalent(at, options.out, absent)) {
        ThrowUsage({.what = "the output folder holds an input of this run",
                    .where = options.out.string(),
                    .found = input.string(),
                    .hint = "name a folder of its own"});
      }
      if (at == at.root_path()) break;
    }
  }
}

// Of eight samples that are fitted, one more is drawn to choose by.
constexpr int64_t kFittedPerHeldOut = 8;

Samples Calibrate(const Model& model, const Tokenizer& tokenizer, const PruneOptions& options) {
  constexpr int64_t kSamples = 2048, kWindows = 32;
  const Dataset dataset = ReadDataset(options.data);
  const bool language = model.spec.task == Task::kLanguageModel;
  const bool answering = model.spec.task == Task::kQuestionAnswering;
  int64_t count = options.samples.value_or(language ? kWindows : kSamples);
  if (options.method == "obs") count += (count + kFittedPerHeldOut - 1) / kFittedPerHeldOut;
  return DrawSamples(model.spec, tokenizer, dataset,
                     {.count = count,
                      .seed = options.seed,
                      .with_replacement = options.as_published,
                      .max_length = options.length > 0 ? options.length
                                    : language         ? kTextWindow
                                    : answering        ? int64_t{kSquadLength}
                                                       : 128},
                     /*need_labels=*/false);
}

ImageCalibrationOptions ImagesOf(const PruneOptions& options) {
  constexpr int64_t kImages = 2048;
  ImageCalibrationOptions images = options.images;
  images.data = options.data;
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
  tune.align = options.align == "yes";
  return tune;
}

Model Repaired(const Model& shrunk, const TuneResult& result, const Console& console,
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
  const TuneOptions tune = RepairOptions(model, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) return shrunk;
  if (!tune.published) return Repaired(shrunk, Tune(dense, shrunk, samples, tune, console), console, report);
  // The published teacher is itself pruned, to the square root of the budget.
  const Plan milder = SearchGlobally(model.spec, scored.scores, costs,
                                     BudgetLimit(costs, std::sqrt(options.keep)),
                                     SearchRules::kPublished)
                          .plan;
  const Network teacher = Bind(Shrink(model, milder), dense.compute);
  return Repaired(shrunk, Tune(teacher, shrunk, samples, tune, console), console, report);
}

// What competes is repaired and measured on held-out samples; the best so far stays.
struct Contest {
  const Model& model;
  const Network& dense;
  const FitSamples& samples;
  const Console& console;
  PruneReport* report;
  Model best_model;
  TuneResult best;
  size_t chosen = 0;

  void Try(const ObsPlan& plan, const TuneOptions& tune) {
    Model shrunk = Shrink(model, plan.plan);
    TuneResult result = Tune(dense, shrunk, samples, tune, console);
    const Divergence divergence = result.held_out.value_or(Divergence{});
    std::vector<Trial>& trials = report->trials;
    trials.push_back({plan.name, TargetName(tune.target), tune.align, plan.loss, divergence, false});
    console.Note(fmt::format("  widths by {}, target {}{}: {:.5f} nats on held-out samples",
                             plan.name, TargetName(tune.target), tune.align ? ", aligned" : "",
                             divergence.mean()));
    if (trials.size() > 1 && divergence.mean() >= trials[chosen].divergence.mean()) return;
    chosen = trials.size() - 1;
    best_model = std::move(shrunk);
    best = std::move(result);
    report->plan = plan.plan;
  }
};

Model PruneByObs(const Model& model, const Network& dense, const FitSamples& samples,
                 const CostTable& costs, const PruneOptions& options, const Console& console,
                 PruneReport* report) {
  std::vector<ObsPlan> plans;
  ObsScores scores;
  {
    const StageClock clock(&report->seconds.score);
    scores = MakeObsScores(model, dense, samples, options, console, report);
  }
  {
    const StageClock clock(&report->seconds.search);
    plans = MakeObsPlans(model.spec, scores, costs, BudgetLimit(costs, options.keep),
                         LimitsOf(model.spec, options.channel_multiple), options);
  }
  const StageClock clock(&report->seconds.tune);
  TuneOptions tune = RepairOptions(model, options);
  report->ridge = tune.ridge;
  if (tune.repair == Repair::kNone) {
    report->plan = plans.front().plan;
    return Shrink(model, report->plan);
  }
  if (samples.held_out.samples.empty()) plans.resize(1);
  Contest contest{model, dense, samples, console, report, {}, {}};
  for (const ObsPlan& plan : plans) contest.Try(plan, tune);
  if (options.align == "best" && !samples.held_out.samples.empty()) {
    tune.align = true;
    for (const ObsPlan& plan : plans) {
      if (plan.name == report->trials[contest.chosen].plan) {
        contest.Try(plan, tune);
        break;
      }
    }
  }
  report->trials[contest.chosen].chosen = true;
  return Repaired(contest.best_model, contest.best, console, report);
}

Plan ReadPlan(const std::filesystem::path& file);

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
    report->plan = options.plan.empty() ? SearchPlan(model, scored, costs, options, console, report)
                                        : ReadPlan(options.plan);
    ValidatePlan(report->plan, UnitCounts(model.spec), options.plan.string());
  }
  scored.gradients.clear();
  Model shrunk;
  {
    const StageClock clock(&seconds.shrink);
    shrunk = Shrink(model, report->plan);
  }
  const StageClock clock(&seconds.tune);
  return RepairModel(model, dense, scored, costs, samples, shrunk, options, console, report);
}

Plan ReadPlan(const std::filesystem::path& file) {
  constexpr JsonLimits kLimits = {.depth = 16, .values = 1000000};
  return PlanFromJson(
      ParseStrictJson<nlohmann::ordered_json>(ReadFile(file), file, "plan", kLimits),
      file.string());
}

std::optional<Metric> Measure(const Model& model, const Evaluation& evaluation,
                              const PruneOptions& options, const Console& console) {
  const Network net = Bind(model, ChooseCompute(options.device, options.dtype, Purpose::kMeasure));
  return ComputeMetric(model.spec, evaluation.dataset, evaluation.samples,
                       RunModel(net, evaluation.samples, console));
}

std::string HashOfWeights(const Model& model) {
  std::string hashes;
  for (const std::filesystem::path& file : model.weight_files) hashes += Sha256HexOfFile(file);
  return model.weight_files.size() == 1 ? hashes : Sha256Hex(hashes);
}

// The forms to write: the input's own without a choice.
std::vector<std::string> FormsOf(const Model& model, const PruneOptions& options) {
  if (!options.forms.empty()) return options.forms;
  return {model.gguf ? "gguf" : "hf"};
}

void Write(const Model& pruned, const PruneReport& report) {
  OutputFolder folder(report.options.out, report.options.replace);
  for (const std::string& form : FormsOf(pruned, report.options)) {
    if (form == "hf") WriteHuggingFace(pruned, folder.path());
    if (form == "gguf")
      WriteGgufModel(pruned, ParseGgufType(report.options.gguf_type), folder.path());
  }
  WriteFile(folder.path() / "coppice.json", RecordJson(report).dump(2) + "\n");
  folder.Commit();
}

// tokenizer: of models of text.
void ReadExamples(const Model& model, const Network& dense,
                  const std::optional<Tokenizer>& tokenizer, const Console& console,
                  Samples* samples, Samples* held_out, Evaluation* evaluation,
                  PruneReport* report) {
  const PruneOptions& options = report->options;
  *samples = tokenizer ? Calibrate(model, *tokenizer, options)
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
}

// Writes the folder, then measures before and after where that is asked for.
void Finish(const Model& model, const Model& pruned, const Evaluation& evaluation,
            const Console& console, PruneReport* report) {
  report->before = MeasureSize(model, report->tokens);
  report->after = MeasureSize(pruned, report->tokens);
  report->peak_memory_bytes = PeakMemoryBytes();
  {
    const StageClock clock(&report->seconds.write);
    if (report->options.data != kSelf) report->data_sha256 = Sha256HexOfFile(report->options.data);
    report->model_sha256 = HashOfWeights(model);
    Write(pruned, *report);
  }
  if (!report->options.eval.empty()) {
    report->eval_before = Measure(model, evaluation, report->options, console);
    report->eval_after = Measure(pruned, evaluation, report->options, console);
  }
}

void DescribeModel(const Model& model, PruneReport* report) {
  for (const SubLayerSpec& sub : model.spec.sub_layers) report->sub_layers.push_back(sub.output);
  report->units = UnitCounts(model.spec);
}

}  // namespace

PruneReport Prune(const PruneOptions& options, const Console& console) {
  const double start = Now();
  CheckOptions(options);
  RefuseToReplaceInputs(options);
  {
    const OutputFolder probe(options.out, options.replace);
  }  // refuse before the work, not after it
  UseThreads(options.threads);
  PruneReport report;
  report.options = options;
  StageSeconds& seconds = report.seconds;
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kCalibrate);
  report.device = DeviceName(compute);
  report.dtype = DtypeName(compute);

  Model model;
  Network dense;
  std::optional<Tokenizer> tokenizer;
  {
    const StageClock clock(&seconds.load);
    model = LoadModel(options.model);
    if (model.spec.image.grid == 0) tokenizer = LoadTokenizer(model);
    dense = Bind(model, compute);
    DescribeModel(model, &report);
  }
  Samples samples, held_out;
  Evaluation evaluation;
  {
    const StageClock clock(&seconds.calibrate);
    ReadExamples(model, dense, tokenizer, console, &samples, &held_out, &evaluation, &report);
  }
  const CostTable costs = MakeCostTable(model, options.budget, options.scope, report.tokens);
  const FitSamples fit{samples, held_out};
  const Model pruned =
      options.method == "obs" && options.plan.empty()
          ? PruneByObs(model, dense, fit, costs, options, console, &report)
          : PruneInSteps(model, dense, fit, costs, options, console, &report);
  report.kept = static_cast<double>(costs.Of(report.plan)) / static_cast<double>(costs.Dense());
  Finish(model, pruned, evaluation, console, &report);
  seconds.total = Now() - start;
  return report;
}

}  // namespace coppice
