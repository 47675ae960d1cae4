#include "eval/language_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "model/distribution.h"
#include "model/forward.h"
#include "model/logits.h"

namespace coppice {
namespace {

constexpr int64_t kRows = 256;  // tokens whose distributions are compared at one time

struct Sums {
  double largest = 0, difference = 0, numbers = 0, kl = 0, agreement = 0, tokens = 0;
};

// reference, other: (M, V) logits of real tokens.
void AddRows(const at::Tensor& reference, const at::Tensor& other, Sums* sums) {
  for (int64_t begin = 0; begin < reference.size(0); begin += kRows) {
    const at::Tensor a = reference.slice(0, begin, begin + kRows);
    const at::Tensor b = other.slice(0, begin, begin + kRows);
    const at::Tensor gap = (a - b).abs();
    sums->largest = std::max(sums->largest, gap.max().item<double>());
    sums->difference += gap.sum(at::kDouble).item<double>();
    sums->numbers += static_cast<double>(gap.numel());
    const at::Tensor p = at::log_softmax(a, 1);
    const at::Tensor q = at::log_softmax(b, 1);
    sums->kl += (p.exp() * (p - q)).sum(at::kDouble).item<double>();
    sums->agreement += a.argmax(1).eq(b.argmax(1)).sum().item<double>();
    sums->tokens += static_cast<double>(a.size(0));
  }
}

void Keep(const at::Tensor& log_probabilities, const Samples& samples, const Batch& batch,
          std::vector<at::Tensor>* outputs) {
  const at::Tensor on_cpu = log_probabilities.to(at::kCPU);
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const auto index = static_cast<size_t>(batch.samples[static_cast<size_t>(row)]);
    (*outputs)[index] = on_cpu[row].slice(0, 0, samples.samples[index].followed()).clone();
  }
}

// logits: (M, V), next: (M); the result: (M), 0 where nothing is known to follow.
at::Tensor OfNext(const at::Tensor& logits, const at::Tensor& next) {
  const at::Tensor of_next =
      logits.gather(1, next.clamp_min(0).unsqueeze(1)).squeeze(1).to(at::kFloat);
  return (of_next - LogSumExp(logits)).masked_fill(next.eq(kNoToken), 0);
}

// Of (B, T) those of tokens that another one may be known to follow.
at::Tensor Known(const at::Tensor& found, const Batch& batch) {
  return batch.next.defined() ? found : found.slice(1, 0, -1);
}

}  // namespace

int64_t BatchTokens(const ModelSpec& spec) {
  constexpr int64_t kNumbers = int64_t{1} << 22, kTokens = 8192;
  return std::clamp<int64_t>(kNumbers / spec.vocabulary, 1, kTokens);
}

at::Tensor NextTokenLogProbabilities(const at::Tensor& logits, const Batch& batch) {
  const at::Tensor next = NextTokens(batch);
  return Known(OfNext(logits.flatten(0, 1), next.flatten()).view(next.sizes()), batch);
}

at::Tensor NextTokenLogProbabilities(const Network& net, const at::Tensor& hidden,
                                     const Batch& batch, at::Tensor* room) {
  const at::Tensor next = NextTokens(batch);
  const at::Tensor found = at::empty(next.sizes(), hidden.options());
  const auto keep = [&](const at::Tensor& logits, int64_t begin) {
    const auto own = [&](const at::Tensor& x) {
      return x.flatten().narrow(0, begin, logits.size(0));
    };
    own(found).copy_(OfNext(logits, own(next)));
  };
  ForLogits(net, hidden.flatten(0, 1), keep, room);
  return Known(found, batch);
}

double Perplexity(const std::vector<at::Tensor>& log_probabilities) {
  double sum = 0, count = 0;
  for (const at::Tensor& one : log_probabilities) {
    sum += one.sum(at::kDouble).item<double>();
    count += static_cast<double>(one.numel());
  }
  return count > 0 ? std::exp(-sum / count) : INFINITY;
}

LanguageModelPair RunLanguageModelPair(const Network& first, const Network& second,
                                       const Samples& samples, const Console& console) {
  at::NoGradGuard no_gradients;
  LanguageModelPair pair;
  pair.first.resize(samples.samples.size());
  pair.second.resize(samples.samples.size());
  Sums sums;
  Progress progress(console, "evaluate", static_cast<int64_t>(samples.samples.size()));
  for (const Batch& batch :
       MakeBatches(samples, first.spec, BatchTokens(first.spec), first.compute.device)) {
    const at::Tensor a = Forward(first, batch);
    const at::Tensor b = Forward(second, batch);
    Keep(NextTokenLogProbabilities(a, batch), samples, batch, &pair.first);
    Keep(NextTokenLogProbabilities(b, batch), samples, batch, &pair.second);
    AddRows(RealRows(batch, a), RealRows(batch, b), &sums);
    progress.Step(batch.rows());
  }
  const double tokens = std::max(1.0, sums.tokens);
  pair.comparison.max_difference = sums.largest;
  pair.comparison.mean_difference = sums.difference / std::max(1.0, sums.numbers);
  pair.comparison.kl = sums.kl / tokens;
  pair.comparison.agreement = sums.agreement / tokens;
  return pair;
}

}  // namespace coppice
