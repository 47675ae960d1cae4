#include "pipeline/examples.h"

#include <fmt/format.h>

#include <algorithm>

#include "calibrate/overlap.h"
#include "calibrate/text_windows.h"
#include "core/error.h"
#include "eval/run_model.h"
#include "pipeline/calibration_data.h"
#include "pipeline/image_data.h"

namespace coppice {
namespace {

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

}  // namespace

Examples ReadExamples(const Model& model, const Network& dense,
                      const std::optional<Tokenizer>& tokenizer, const Console& console,
                      PruneReport* report) {
  const PruneOptions& options = report->options;
  if (!options.eval.empty() && model.spec.task == Task::kNone) {
    ThrowUsage({.what = "a model of embeddings has no metric",
                .where = "--eval " + options.eval.string(),
                .hint = "compare the models afterwards: coppice compare"});
  }
  Examples examples;
  Samples& fitted = examples.fitted;
  Samples& held_out = examples.held_out;
  Evaluation& evaluation = examples.evaluation;
  fitted = tokenizer ? Calibrate(dense, *tokenizer, options, console)
                     : CalibrateOnImages(dense, ImagesOf(options), console);
  if (options.method == "obs" && fitted.samples.size() > 1) {
    const auto drawn = static_cast<int64_t>(fitted.samples.size());
    held_out = HoldOut(std::min(kFittedPerHeldOut + 1, drawn), &fitted);
  }
  report->held_out = static_cast<int64_t>(held_out.samples.size());
  report->samples = static_cast<int64_t>(fitted.samples.size());
  report->calibration_tokens = fitted.tokens();
  report->tokens = options.at_length.value_or(fitted.mean_tokens());
  if (!options.eval.empty() && !tokenizer) {
    evaluation.samples = ReadImageSamples(model.spec, options.eval, {});
  } else if (!options.eval.empty()) {
    evaluation.dataset = ReadDataset(options.eval);
    evaluation.samples =
        DrawSamples(model.spec, *tokenizer, evaluation.dataset, {}, /*need_labels=*/true);
  }
  const double seen =
      std::max(SeenShare(fitted, evaluation.samples), SeenShare(held_out, evaluation.samples));
  if (seen > 0) {
    console.Warn(
        fmt::format("{:.1f} % of the samples of {} were seen in calibration: its figures "
                    "flatter the pruned model",
                    100 * seen, options.eval.string()));
  }
  return examples;
}

}  // namespace coppice
