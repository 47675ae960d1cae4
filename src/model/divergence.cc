#include "model/divergence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "model/forward.h"

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

// Distributions over the vocabulary that are made and compared at one time. On the CPU a product
// wants rows to share the matrix it reads, and what follows wants the caches and the heap's blocks.
struct RowsAtOnce {
  int64_t made, compared;
};

RowsAtOnce AtOnce(int64_t vocabulary, at::Device device) {
  if (device.is_cuda()) {
    const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 27) / vocabulary);
    return {rows, rows};
  }
  return {128, std::max<int64_t>(1, (int64_t{1} << 20) / vocabulary)};
}

// log_reference: (m, V) log-probabilities; logits: (m, V). A float64 scalar.
at::Tensor SumOfRows(const at::Tensor& log_reference, const at::Tensor& logits) {
  const int64_t rows = AtOnce(logits.size(1), logits.device()).compared;
  at::Tensor sum = at::zeros({}, logits.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < logits.size(0); begin += rows) {
    const at::Tensor p = log_reference.slice(0, begin, begin + rows);
    const at::Tensor q = at::log_softmax(logits.slice(0, begin, begin + rows), 1);
    sum += (p.exp() * (p - q)).sum(at::kDouble);
  }
  return sum;
}

// Calls `use` with the logits (m, V) of a language model's next m real tokens, and the first's
// place.
template <typename Use>
void ForLogits(const Network& net, const at::Tensor& hidden, const Batch& batch, const Use& use) {
  const at::Tensor tokens = RealRows(batch, hidden);  // (M, D)
  const int64_t rows = AtOnce(net.spec.vocabulary, hidden.device()).made;
  for (int64_t begin = 0; begin < tokens.size(0); begin += rows)
    use(ApplyHead(net, tokens.slice(0, begin, begin + rows), batch), begin);
}

}  // namespace

Divergence DivergenceOf(Task task, const at::Tensor& reference, const at::Tensor& output,
                        const Batch& batch) {
  const auto rows = static_cast<double>(batch.rows());
  const auto exact = [](const at::Tensor& x) { return x.to(at::kDouble); };
  switch (task) {
    case Task::kLanguageModel:
      return {SumOfRows(at::log_softmax(RealRows(batch, reference), 1), RealRows(batch, output))
                  .item<double>(),
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
  std::vector<at::Tensor> parts;
  ForLogits(net, hidden, batch, [&](const at::Tensor& logits, int64_t) {
    parts.push_back(at::log_softmax(logits, 1));
  });
  return {at::cat(parts)};
}

Divergence DivergenceFrom(const Reference& reference, const Network& net, const at::Tensor& hidden,
                          const Batch& batch) {
  if (net.spec.task != Task::kLanguageModel)
    return DivergenceOf(net.spec.task, reference.outputs, ApplyHead(net, hidden, batch), batch);
  at::Tensor sum = at::zeros({}, hidden.options().dtype(at::kDouble));
  ForLogits(net, hidden, batch, [&](const at::Tensor& logits, int64_t begin) {
    sum += SumOfRows(reference.outputs.slice(0, begin, begin + logits.size(0)), logits);
  });
  return {sum.item<double>(), static_cast<double>(reference.outputs.size(0))};
}

}  // namespace coppice
