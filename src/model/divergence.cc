#include "model/divergence.h"

#include <ATen/ATen.h>

namespace coppice {
namespace {

// Sum over all distributions along the last dimension.
double KullbackLeibler(const at::Tensor& reference, const at::Tensor& output) {
  const at::Tensor p = at::log_softmax(reference, -1);
  const at::Tensor q = at::log_softmax(output, -1);
  // Padding has logits of -inf in both: no probability, no part.
  return at::where(p.isfinite(), p.exp() * (p - q), at::zeros_like(p))
      .sum(at::kDouble)
      .item<double>();
}

Divergence OfTokens(const at::Tensor& reference, const at::Tensor& output, const Batch& batch) {
  constexpr int64_t kRows = 256;                    // distributions over the vocabulary at one time
  const at::Tensor a = RealRows(batch, reference);  // (M, V)
  const at::Tensor b = RealRows(batch, output);
  Divergence result;
  for (int64_t begin = 0; begin < a.size(0); begin += kRows) {
    result.sum +=
        KullbackLeibler(a.slice(0, begin, begin + kRows), b.slice(0, begin, begin + kRows));
  }
  result.count = static_cast<double>(a.size(0));
  return result;
}

}  // namespace

Divergence DivergenceOf(Task task, const at::Tensor& reference, const at::Tensor& output,
                        const Batch& batch) {
  const auto rows = static_cast<double>(batch.rows());
  const auto exact = [](const at::Tensor& x) { return x.to(at::kDouble); };
  switch (task) {
    case Task::kLanguageModel:
      return OfTokens(reference, output, batch);
    case Task::kClassification:
      return {KullbackLeibler(exact(reference), exact(output)), rows};
    case Task::kQuestionAnswering:
      return {KullbackLeibler(exact(reference).transpose(1, 2), exact(output).transpose(1, 2)) / 2,
              rows};
    case Task::kRegression:
    case Task::kNone:
      break;
  }
  return {(reference - output).square().sum(at::kDouble).item<double>() / 2, rows};
}

}  // namespace coppice
