#include "pipeline/select.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/finite.h"
#include "score/activation_scores.h"
#include "score/mask_gradients.h"
#include "search/even_search.h"
#include "search/rearrange.h"

namespace coppice {
namespace {

// Samples whose mean gradient is one row of the published Fisher information.
constexpr int64_t kPublishedBatch = 32;
constexpr int64_t kPublishedBatchAnswering = 12;

// Rows of mini-batches in the order of drawing: the published Fisher information squares their mean
// gradients.
at::Tensor BatchMeans(const at::Tensor& rows, int64_t batch) {
  std::vector<at::Tensor> parts;
  parts.reserve(static_cast<size_t>(rows.size(0) / batch + 1));
  for (const at::Tensor& part : rows.split(batch)) parts.push_back(part.mean(0));
  return at::stack(parts);
}

// A language model has few samples of many tokens each (bench/HISTORY.md has the figures).
int64_t RowTokens(const ModelSpec& spec) {
  constexpr int64_t kStretch = 64;
  return spec.task == Task::kLanguageModel ? kStretch : 0;
}

Scored ScoreByGradients(const Network& dense, const Samples& samples, const PruneOptions& options,
                        const Console& console, PruneReport* report) {
  const MaskGradientOptions how = GradientOptions(dense, samples, options);
  report->labels = how.labels;
  if (options.as_published && how.labels != LabelSource::kData) {
    console.Warn("the published method needs labels; they are drawn from the model instead");
  }
  const bool answering = dense.spec.task == Task::kQuestionAnswering;
  const bool keep_rows = options.as_published || options.rearrange;  // for the rearrangement
  Scored scored;
  scored.scores.resize(dense.sub_layers.size());
  if (keep_rows) scored.gradients.resize(dense.sub_layers.size());
  VisitMaskGradients(dense, samples, how, console, [&](size_t i, SubLayerGradients* one) {
    report->calibration_loss = one->mean_loss;
    CheckLoss(one->mean_loss, options);
    at::Tensor rows = one->rows;
    if (options.as_published)
      rows = BatchMeans(rows, answering ? kPublishedBatchAnswering : kPublishedBatch);
    scored.scores[i] = FisherScores(rows);
    if (keep_rows) scored.gradients[i] = rows;
  });
  return scored;
}

Scored ScoreByMagnitude(const Model& model) {
  Scored scored;
  for (size_t i = 0; i < model.spec.sub_layers.size(); ++i)
    scored.scores.push_back(
        MagnitudeScores(OutputProjection(model, i), model.spec.sub_layers[i].width));
  return scored;
}

Scored ScoreByActivations(const Model& model, const Network& dense, const Samples& samples,
                          const PruneOptions& options, const Console& console) {
  Scored scored;
  const bool numerical = options.method == "numerical";
  VisitSubLayers(
      dense, samples, numerical ? StatisticsKind::kFull : StatisticsKind::kDiagonal, console,
      [&](size_t i, const UnitStatistics& statistics) {
        const SubLayerSpec& sub = model.spec.sub_layers[i];
        const at::Tensor weight = OutputProjection(model, i);
        const bool attention = sub.kind == UnitKind::kHead;
        scored.scores.push_back(
            numerical
                ? NumericalScores(statistics, weight, sub.width, 1 - *options.keep, options.lambda)
            : options.method == "flap" ? FlapScores(statistics, weight, sub.width, attention)
                                       : WandaScores(statistics, weight, sub.width));
      });
  return scored;
}

// Shen et al. 2024 as printed: head scores times 4 E / 3 (its like for groups), one threshold at
// the position that leaves the share of *units* asked for.
GlobalSearchResult SearchAsPrinted(const ModelSpec& spec, const std::vector<at::Tensor>& scores,
                                   const CostTable& costs, double keep) {
  std::vector<at::Tensor> weighted;
  int64_t units = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const SubLayerSpec& sub = spec.sub_layers[i];
    const double alpha = sub.kind == UnitKind::kHead ? static_cast<double>(2 * sub.queries + 2) *
                                                           static_cast<double>(spec.head_width) / 3
                                                     : 1;
    weighted.push_back(scores[i] * alpha);
    units += sub.units;
  }
  CostTable one = costs;  // every unit counts once
  std::fill(one.unit.begin(), one.unit.end(), 1);
  one.fixed = 0;
  const auto kept = static_cast<int64_t>(std::floor(keep * static_cast<double>(units)));
  return SearchByRank(spec, weighted, one, kept, {});
}

GlobalSearchResult SearchFisher(const Model& model, const Scored& scored, const CostTable& costs,
                                const PruneOptions& options, const SearchLimits& limits,
                                PruneReport* report) {
  const int64_t limit = BudgetLimit(costs, *options.keep);
  if (options.as_published) {
    GlobalSearchResult result =
        SearchGlobally(model.spec, scored.scores, costs, limit, SearchRules::kPublished);
    const RearrangeResult rearranged =
        Rearrange(result.plan, scored.gradients, RearrangeRules::kPublished);
    report->swaps = rearranged.swaps;
    return {rearranged.plan, result.kept_score};
  }
  GlobalSearchResult result =
      SearchGlobally(model.spec, scored.scores, costs, limit, SearchRules::kExact, limits);
  // Exchanged units fit the samples' gradients and cost accuracy under every repair
  // (bench/HISTORY.md).
  if (!options.rearrange) return result;
  const RearrangeResult rearranged =
      Rearrange(result.plan, scored.gradients, RearrangeRules::kExact);
  report->swaps = rearranged.swaps;
  return {rearranged.plan, result.kept_score};
}

// On a GPU what its memory has room for without a second pass forward (score/segments.h).
int64_t GradientBatchTokens(const Network& dense) {
  if (!dense.compute.device.is_cuda()) return UsualBatchTokens(dense.compute.device);
  if (dense.spec.task != Task::kLanguageModel) return 8192;
  return dense.streamed ? 2048 : 4096;  // fewer segments
}

LabelSource Labels(const Network& dense, const Samples& samples, const PruneOptions& options) {
  const Task task = dense.spec.task;
  if (task == Task::kLanguageModel) {
    if (options.labels == "auto" || options.labels == "data") return LabelSource::kData;
    ThrowUsage({.what = "a language model's labels are its tokens",
                .where = "--labels " + options.labels,
                .expected = "data"});
  }
  if (options.labels == "probe") return LabelSource::kProbe;
  if (options.labels == "model") return LabelSource::kModel;
  const bool there = samples.labelled && task != Task::kNone;
  if (options.labels == "data" && !there) {
    ThrowBadInput({.what = "not every example has a label",
                   .where = DescribeParts(options.data),
                   .hint = "use --labels model or probe"});
  }
  if (options.labels == "data" || options.method != "obs")
    return there ? LabelSource::kData : LabelSource::kModel;
  return LabelSource::kProbe;
}

}  // namespace

bool IsText(const ModelSpec& spec) {
  return spec.task == Task::kLanguageModel && spec.image.grid == 0;
}

at::Tensor OutputProjection(const Model& model, size_t index) {
  return model.tensors.at(model.spec.sub_layers[index].output + ".weight").t();
}

MaskGradientOptions GradientOptions(const Network& dense, const Samples& samples,
                                    const PruneOptions& options) {
  return {.labels = Labels(dense, samples, options),
          .seed = options.seed,
          .batch_tokens = GradientBatchTokens(dense),
          .row_tokens = options.row_tokens.value_or(RowTokens(dense.spec))};
}

at::Tensor FisherScores(const at::Tensor& rows) {
  return rows.square().sum(0, false, at::kDouble).to(at::kCPU).contiguous();
}

void CheckLoss(double loss, const PruneOptions& options) {
  if (std::isfinite(loss)) return;
  ThrowNotFinite(LoadModel(options.model), "the losses on " + DescribeParts(options.data));
}

const std::vector<Method>& Methods() {
  static const std::vector<Method> methods = {
      {.name = "obs"},
      {.name = "fisher", .published = true},
      {.name = "numerical", .published = true},
      {.name = "flap", .repair = Repair::kBias, .target = Target::kDense},
      {.name = "wanda", .repair = Repair::kNone},
      {.name = "magnitude", .repair = Repair::kNone},
  };
  return methods;
}

const Method& FindMethod(const std::string& name) {
  std::vector<std::string> names;
  for (const Method& method : Methods()) {
    if (method.name == name) return method;
    names.push_back(method.name);
  }
  ThrowUsage({.what = "unknown method",
              .where = "--method",
              .expected = fmt::format("{}", fmt::join(names, ", ")),
              .found = name});
}

int64_t BudgetLimit(const CostTable& costs, double keep) {
  return static_cast<int64_t>(std::floor(keep * static_cast<double>(costs.Dense())));
}

SearchLimits LimitsOf(const ModelSpec& spec, const PruneOptions& options) {
  constexpr int64_t kFast = 16;  // channels: what a processor's vectors hold
  SearchLimits limits;
  if (spec.form == BlockForm::kEncoder) {
    if (options.budget == CostKind::kLatency) limits.multiple = kFast;
    return limits;
  }
  limits.multiple = options.channel_multiple;
  for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
    const bool first_attention = i == 0;
    const bool ffn = spec.sub_layers[i].kind == UnitKind::kChannel;
    limits.least.push_back(std::min<int64_t>(spec.sub_layers[i].units, first_attention || ffn));
  }
  return limits;
}

Scored ScoreUnits(const Model& model, const Network& dense, const Samples& samples,
                  const PruneOptions& options, const Console& console, PruneReport* report) {
  if (options.method == "fisher") return ScoreByGradients(dense, samples, options, console, report);
  if (options.method == "magnitude") return ScoreByMagnitude(model);
  return ScoreByActivations(model, dense, samples, options, console);
}

Plan SearchPlan(const Model& model, const Scored& scored, const CostTable& costs,
                const PruneOptions& options, const Console& console, PruneReport* report) {
  const int64_t limit = BudgetLimit(costs, *options.keep);
  const SearchLimits limits = LimitsOf(model.spec, options);
  GlobalSearchResult result;
  if (options.uniform) {
    result = SearchEvenly(model.spec, scored.scores, costs, limit, limits, /*keep=*/1);
  } else if (options.method == "fisher") {
    result = SearchFisher(model, scored, costs, options, limits, report);
  } else if (options.method == "numerical" && options.as_published) {
    result = SearchAsPrinted(model.spec, scored.scores, costs, *options.keep);
  } else if (options.method == "wanda" || options.method == "magnitude") {
    result = SearchEvenly(model.spec, scored.scores, costs, limit, limits, *options.keep);
  } else {
    result = SearchByRank(model.spec, scored.scores, costs, limit, limits);
  }
  report->kept_score = result.kept_score;
  if (costs.Of(result.plan) > limit) {
    console.Warn(fmt::format(
        "the published {}: it keeps {:.3f} of the cost",
        costs.curves.empty() ? "ranking counts units" : "search counts heads and channels alone",
        static_cast<double>(costs.Of(result.plan)) / static_cast<double>(costs.Dense())));
  }
  return result.plan;
}

}  // namespace coppice
