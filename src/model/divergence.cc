#include "model/divergence.h"

#include <ATen/ATen.h>

#include "model/distribution.h"
#include "model/forward.h"
#include "model/logits.h"

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

}  // namespace

Divergence DivergenceOf(Task task, const at::Tensor& reference, const at::Tensor& output,
                        const Batch& batch) {
  const auto rows = static_cast<double>(batch.rows());
  const auto exact = [](const at::Tensor& x) { return x.to(at::kDouble); };
  switch (task) {
    case Task::kLanguageModel:
      return {KullbackLeibler(RealRows(batch, reference), RealRows(batch, output)),
              static_cast<double>(batch.real.numel())};
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

Reference ReadReference(const Network& net, const at::Tensor& hidden, const Batch& batch) {
  if (net.spec.task != Task::kLanguageModel) return {ApplyHead(net, hidden, batch)};
  const at::Tensor tokens = RealRows(batch, hidden);  // (M, D)
  Reference reference{.outputs = at::empty({tokens.size(0), net.output.size(0)}, tokens.options()),
                      .certainty = at::empty({tokens.size(0)}, tokens.options()),
                      .room = {}};
  const auto keep = [&](const at::Tensor& logits, int64_t begin) {
    at::Tensor p = reference.outputs.narrow(0, begin, logits.size(0));
    reference.certainty.narrow(0, begin, logits.size(0)).copy_(Probabilities(logits, &p));
  };
  ForLogits(net, tokens, keep, &reference.room);
  return reference;
}

Divergence DivergenceFrom(const Reference& reference, const Network& net, const at::Tensor& hidden,
                          const Batch& batch) {
  if (net.spec.task != Task::kLanguageModel)
    return DivergenceOf(net.spec.task, reference.outputs, ApplyHead(net, hidden, batch), batch);
  at::Tensor sum = at::zeros({}, hidden.options().dtype(at::kDouble));
  const auto add = [&](const at::Tensor& logits, int64_t begin) {
    const at::Tensor p = reference.outputs.narrow(0, begin, logits.size(0));
    const at::Tensor certainty = reference.certainty.narrow(0, begin, logits.size(0));
    sum += (certainty + CrossEntropy(p, logits)).sum(at::kDouble);
  };
  at::Tensor room = reference.room;
  ForLogits(net, RealRows(batch, hidden), add, &room);
  return {sum.item<double>(), static_cast<double>(reference.outputs.size(0))};
}

}  // namespace coppice
