#include "pipeline/prune.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calibrate/text_windows.h"
#include "core/error.h"
#include "core/file.h"
#include "eval/run_model.h"
#include "export/gguf.h"
#include "export/gguf_metadata.h"
#include "export/huggingface.h"
#include "load/strict_json.h"
#include "model/device.h"
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
  for (const fs::path& input :
       {options.model, options.data, options.eval, options.plan, options.vocabulary}) {
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

Samples Calibrate(const Model& model, const Tokenizer& tokenizer, const PruneOptions& options) {
  constexpr int64_t kSamples = 2048, kWindows = 32;
  const Dataset dataset = ReadDataset(options.data);
  const bool language = model.spec.task == Task::kLanguageModel;
  const bool answering = model.spec.task == Task::kQuestionAnswering;
  return DrawSamples(model.spec, tokenizer, dataset,
                     {.count = options.samples.value_or(language ? kWindows : kSamples),
                      .seed = options.seed,
                      .with_replacement = options.as_published,
                      .max_length = options.length > 0 ? options.length
                                    : language         ? kTextWindow
                                    : answering        ? int64_t{kSquadLength}
                                                       : 128},
                     /*need_labels=*/false);
}

// Chosen on development data (BENCHMARKS.md).
double Ridge(const ModelSpec& spec, const PruneOptions& options) {
  return options.ridge.value_or(spec.task == Task::kLanguageModel ? 0.3 : 0.03);
}

Model RepairModel(const Model& model, const Network& dense, const Scored& scored,
                  const CostTable& costs, const Samples& samples, const Model& shrunk,
                  const PruneOptions& options, const Console& console, PruneReport* report) {
  TuneOptions tune;
  tune.ridge = report->ridge = Ridge(model.spec, options);
  tune.repair = options.repair ? ParseRepair(*options.repair) : FindMethod(options.method).repair;
  if (tune.repair == Repair::kNone) return shrunk;
  tune.target = options.target ? ParseTarget(*options.target) : FindMethod(options.method).target;
  const bool scales = options.as_published && options.method == "fisher";
  tune.published = scales;
  TuneResult result;
  if (scales) {
    // The published teacher is itself pruned, to the square root of the budget.
    const Plan milder =
        SearchGlobally(model.spec, scored.scores, costs,
                       BudgetLimit(costs, std::sqrt(options.keep)), SearchRules::kPublished)
            .plan;
    result = Tune(Bind(Shrink(model, milder), dense.compute), shrunk, samples, tune, console);
  } else {
    result = Tune(dense, shrunk, samples, tune, console);
  }
  report->repairs = result.records;
  for (const TuneRecord& record : result.records) {
    if (!record.note.empty()) console.Note(fmt::format("  {}: {}", record.output, record.note));
  }
  return WithTensors(shrunk, result.tensors);
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

// What a form lacks is said before the work, not after it.
void CheckForms(const Model& model, const PruneOptions& options) {
  const std::vector<std::string> forms = FormsOf(model, options);
  const bool gguf = std::find(forms.begin(), forms.end(), "gguf") != forms.end();
  if (gguf) {
    MakeGgufMetadata(model, options.vocabulary);
  } else if (!options.vocabulary.empty()) {
    ThrowUsage({.what = "--vocabulary is for GGUF files", .hint = "add --to gguf, or drop it"});
  }
}

void Write(const Model& pruned, const PruneReport& report) {
  OutputFolder folder(report.options.out, report.options.replace);
  for (const std::string& form : FormsOf(pruned, report.options)) {
    if (form == "hf") WriteHuggingFace(pruned, folder.path());
    if (form == "gguf")
      WriteGgufModel(pruned, ParseGgufType(report.options.gguf_type), folder.path(),
                     report.options.vocabulary);
  }
  WriteFile(folder.path() / "coppice.json", RecordJson(report).dump(2) + "\n");
  folder.Commit();
}

void ReadExamples(const Model& model, const Tokenizer& tokenizer, Samples* samples,
                  Evaluation* evaluation, PruneReport* report) {
  const PruneOptions& options = report->options;
  *samples = Calibrate(model, tokenizer, options);
  report->samples = static_cast<int64_t>(samples->samples.size());
  report->calibration_tokens = samples->tokens();
  report->tokens = options.at_length.value_or(samples->mean_tokens());
  if (!options.eval.empty()) {
    evaluation->dataset = ReadDataset(options.eval);
    evaluation->samples =
        DrawSamples(model.spec, tokenizer, evaluation->dataset, {}, /*need_labels=*/true);
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
    report->data_sha256 = Sha256HexOfFile(report->options.data);
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
    CheckForms(model, options);
    tokenizer = LoadTokenizer(model);
    dense = Bind(model, compute);
    DescribeModel(model, &report);
  }
  Samples samples;
  Evaluation evaluation;
  {
    const StageClock clock(&seconds.calibrate);
    ReadExamples(model, *tokenizer, &samples, &evaluation, &report);
  }
  const CostTable costs = MakeCostTable(model, options.budget, options.scope, report.tokens);
  Scored scored;
  if (options.plan.empty()) {
    const StageClock clock(&seconds.score);
    scored = ScoreUnits(model, dense, samples, options, console, &report);
    for (const at::Tensor& score : scored.scores) report.total_score += score.sum().item<double>();
  }
  {
    const StageClock clock(&seconds.search);
    report.plan = options.plan.empty() ? SearchPlan(model, scored, costs, options, console, &report)
                                       : ReadPlan(options.plan);
    ValidatePlan(report.plan, UnitCounts(model.spec), options.plan.string());
    report.kept = static_cast<double>(costs.Of(report.plan)) / static_cast<double>(costs.Dense());
  }
  scored.gradients.clear();
  Model pruned;
  {
    const StageClock clock(&seconds.shrink);
    pruned = Shrink(model, report.plan);
  }
  {
    const StageClock clock(&seconds.tune);
    pruned = RepairModel(model, dense, scored, costs, samples, pruned, options, console, &report);
  }
  Finish(model, pruned, evaluation, console, &report);
  seconds.total = Now() - start;
  return report;
}

}  // namespace coppice
