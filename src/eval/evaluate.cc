#include "eval/evaluate.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "data/squad.h"
#include "data/statistics.h"
#include "eval/language_model.h"

namespace coppice {
namespace {

Metric QuestionAnswering(const Dataset& dataset, const Samples& samples,
                         const std::vector<at::Tensor>& outputs) {
  SquadAnswers answers(dataset);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const at::Tensor start = outputs[i].select(1, 0).contiguous();
    const at::Tensor end = outputs[i].select(1, 1).contiguous();
    const auto tokens = static_cast<size_t>(start.size(0));
    answers.Add(samples.windows[i], {start.const_data_ptr<float>(), tokens},
                {end.const_data_ptr<float>(), tokens});
  }
  const SquadScore score = ScoreSquad(dataset, answers.Best());
  return {"f1", score.f1, score.exact_match};
}

}  // namespace

std::optional<Metric> ComputeMetric(const ModelSpec& spec, const Dataset& dataset,
                                    const Samples& samples,
                                    const std::vector<at::Tensor>& outputs) {
  if (spec.task == Task::kNone) return std::nullopt;
  if (spec.task == Task::kLanguageModel) return Metric{"perplexity", Perplexity(outputs), {}};
  if (spec.task == Task::kQuestionAnswering) return QuestionAnswering(dataset, samples, outputs);
  std::vector<int64_t> predicted_class, gold_class;
  std::vector<double> predicted_value, gold_value;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const double label = samples.samples[i].label;
    if (spec.task == Task::kClassification) {
      predicted_class.push_back(outputs[i].argmax().item<int64_t>());
      gold_class.push_back(static_cast<int64_t>(label));
    } else {
      predicted_value.push_back(outputs[i].item<double>());
      gold_value.push_back(label);
    }
  }
  if (spec.task == Task::kClassification)
    return Metric{"accuracy", Accuracy(predicted_class, gold_class), {}};
  return Metric{"spearman", Spearman(predicted_value, gold_value), {}};
}

}  // namespace coppice
