#include "eval/compare.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"

namespace coppice {
namespace {

// KL(p || q) of distributions over the first dimension, averaged over the rest.
double KullbackLeibler(const at::Tensor& reference, const at::Tensor& other) {
  const at::Tensor p = at::log_softmax(reference.to(at::kDouble), 0);
  const at::Tensor q = at::log_softmax(other.to(at::kDouble), 0);
  return (p.exp() * (p - q)).sum(0).mean().item<double>();
}

}  // namespace

Comparison CompareOutputs(Task task, const std::vector<at::Tensor>& reference,
                          const std::vector<at::Tensor>& other) {
  Check(reference.size() == other.size(), "outputs of different samples");
  Comparison result;
  const bool distributions = task == Task::kClassification || task == Task::kQuestionAnswering;
  double difference = 0, numbers = 0, kl = 0, agreement = 0, cosine = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const at::Tensor& a = reference[i];
    const at::Tensor& b = other[i];
    Check(a.sizes().equals(b.sizes()), "outputs of different shapes");
    const at::Tensor gap = (a - b).abs();
    if (const double most = gap.max().item<double>(); !(most <= result.max_difference))
      result.max_difference = most;  // NaN stays
    difference += gap.sum().item<double>();
    numbers += static_cast<double>(gap.numel());
    if (distributions) {
      kl += KullbackLeibler(a, b);
      agreement += at::equal(a.argmax(0), b.argmax(0));
    } else if (task == Task::kNone) {
      cosine += at::cosine_similarity(a, b, 0).item<double>();
    }
  }
  const auto count = static_cast<double>(std::max<size_t>(1, reference.size()));
  result.mean_difference = numbers > 0 ? difference / numbers : 0;
  if (distributions) {
    result.kl = kl / count;
    result.agreement = agreement / count;
  } else if (task == Task::kNone) {
    result.cosine = cosine / count;
  }
  return result;
}

}  // namespace coppice
