#include "pipeline/prune.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "eval/run_model.h"
#include "export/huggingface.h"
#include "load/strict_json.h"
#include "model/device.h"
#include "score/mask_gradients.h"
#include "search/global_search.h"
#include "search/rearrange.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

constexpr size_t kPublishedBatch =
    32;  // samples whose mean gradient is one row; 12 for question answering
constexpr size_t kPublishedBatchAnswering = 12;

struct Evaluation {
  Dataset dataset;
  Samples samples;
};

std::vector<at::Tensor> Squares(const std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> scores;
  scores.reserve(gradients.size());
  for (const at::Tensor& rows : gradients) {
    scores.push_back(rows.square().sum(0, false, at::kDouble).to(at::kCPU).contiguous());
  }
  return scores;
}

// Rows of mini-batches in the order of drawing: the published Fisher information squares their mean
// gradients.
std::vector<at::Tensor> BatchMeans(const std::vector<at::Tensor>& gradients, int64_t batch) {
  std::vector<at::Tensor> means;
  for (const at::Tensor& rows : gradients) {
    std::vector<at::Tensor> parts;
    parts.reserve(static_cast<size_t>(rows.size(0) / batch + 1));
    for (const at::Tensor& part : rows.split(batch)) parts.push_back(part.mean(0));
    means.push_back(at::stack(parts));
  }
  return means;
}

int64_t Limit(const CostTable& costs, double keep) {
  return static_cast<int64_t>(std::floor(keep * static_cast<double>(costs.Dense())));
}

void CheckOptions(const PruneOptions& options) {
  if (options.method != "fisher") {
    ThrowUsage({.what = "unknown method",
                .where = "--method",
                .expected = "fisher",
                .found = options.method});
  }
  if (!(options.keep > 0 && options.keep <= 1)) {
    ThrowUsage({.what = "the share to keep is out of range",
                .expected = "above 0, at most 1",
                .found = fmt::format("{}", options.keep)});
  }
  if (options.repair) ParseRepair(*options.repair);
  if (!(options.ridge >= 0) || !std::isfinite(options.ridge)) {
    ThrowUsage({.what = "bad value", .where = "--ridge", .expected = "0 or more"});
  }
  if (options.samples < 1)
    ThrowUsage({.what = "bad value", .where = "--samples", .expected = "1 or more"});
  if (options.data.empty()) {
    ThrowUsage(
        {.what = "method fisher needs calibration examples", .hint = "give them with --data FILE"});
  }
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

Samples Calibrate(const Model& model, const Tokenizer& tokenizer, const PruneOptions& options) {
  const Dataset dataset = ReadDataset(options.data);
  const bool answering = model.spec.task == Task::kQuestionAnswering;
  return DrawSamples(model.spec, tokenizer, dataset,
                     {.count = options.samples,
                      .seed = options.seed,
                      .with_replacement = options.as_published,
                      .max_length = options.length > 0 ? options.length
                                                       : (answering ? int64_t{kSquadLength} : 128)},
                     /*need_labels=*/false);
}

// What scoring hands to the search and to the record.
struct Scored {
  std::vector<at::Tensor> gradients;  // of each sub-layer, (rows, units)
  std::vector<at::Tensor> scores;     // of each sub-layer, (units) float64
};

Scored Score(const Network& dense, const Samples& samples, const PruneOptions& options,
             const Console& console, PruneReport* report) {
  const LabelSource labels =
      samples.labelled && dense.spec.task != Task::kNone ? LabelSource::kData : LabelSource::kModel;
  report->sampled_labels = labels == LabelSource::kModel;
  if (options.as_published && report->sampled_labels) {
    console.Warn("the published method needs labels; they are drawn from the model instead");
  }
  MaskGradients gradients =
      ComputeMaskGradients(dense, samples,
                           {.labels = labels,
                            .seed = options.seed,
                            .batch_tokens = dense.compute.device.is_cuda() ? 8192 : 1024},
                           console);
  report->calibration_loss = gradients.mean_loss;
  if (!std::isfinite(gradients.mean_loss)) {
    ThrowBadInput({.what = "the loss on the calibration examples is not finite",
                   .where = options.data.string(),
                   .hint = "the weights may hold infinities; try --dtype float32"});
  }
  Scored scored{std::move(gradients.rows), {}};
  if (options.as_published) {
    const bool answering = dense.spec.task == Task::kQuestionAnswering;
    scored.gradients =
        BatchMeans(scored.gradients, answering ? kPublishedBatchAnswering : kPublishedBatch);
  }
  scored.scores = Squares(scored.gradients);
  return scored;
}

Plan Search(const Model& model, const Scored& scored, const CostTable& costs,
            const PruneOptions& options, PruneReport* report) {
  const int64_t limit = Limit(costs, options.keep);
  if (options.uniform) {
    GlobalSearchResult result = SearchUniformly(model.spec, scored.scores, costs, limit);
    report->kept_score = result.kept_score;
    return result.plan;
  }
  const SearchRules rules = options.as_published ? SearchRules::kPublished : SearchRules::kExact;
  const GlobalSearchResult result = SearchGlobally(model.spec, scored.scores, costs, limit, rules);
  report->kept_score = result.kept_score;
  // Exchanged units fit the samples' gradients and cost accuracy under every repair
  // (BENCHMARKS.md).
  if (!options.rearrange && !options.as_published) return result.plan;
  const RearrangeResult rearranged =
      Rearrange(result.plan, scored.gradients,
                options.as_published ? RearrangeRules::kPublished : RearrangeRules::kExact);
  report->swaps = rearranged.swaps;
  return rearranged.plan;
}

Model RepairModel(const Model& model, const Network& dense, const Scored& scored,
                  const CostTable& costs, const Samples& samples, const Model& shrunk,
                  const PruneOptions& options, const Console& console, PruneReport* report) {
  TuneOptions tune;
  tune.published = options.as_published;
  tune.ridge = options.ridge;
  if (options.repair) tune.repair = ParseRepair(*options.repair);
  if (tune.repair == Repair::kNone) return shrunk;
  TuneResult result;
  if (options.as_published) {
    // The published teacher is itself pruned, to the square root of the budget.
    const Plan milder =
        SearchGlobally(model.spec, scored.scores, costs, Limit(costs, std::sqrt(options.keep)),
                       SearchRules::kPublished)
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

void Write(const Model& pruned, const PruneReport& report) {
  OutputFolder folder(report.options.out, report.options.replace);
  WriteHuggingFace(pruned, folder.path());
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
    tokenizer = Tokenizer::Load(options.model / "tokenizer.json");
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
    scored = Score(dense, samples, options, console, &report);
    for (const at::Tensor& score : scored.scores) report.total_score += score.sum().item<double>();
  }
  {
    const StageClock clock(&seconds.search);
    report.plan = options.plan.empty() ? Search(model, scored, costs, options, &report)
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
