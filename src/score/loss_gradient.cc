#include "score/loss_gradient.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "model/distribution.h"
#include "model/forward.h"
#include "model/logits.h"

namespace coppice {
namespace {

at::Tensor GradientOf(const at::Tensor& scalar, const at::Tensor& by) {
  return torch::autograd::grad({scalar}, {by})[0];
}

// A sample's loss is a mean over its next tokens. Its gradient by a token's logits is the
// distribution less the next token's one, times the token's share, which can wait for the end. A
// token's loss is counted up to 87 nats, where float32 ends.
LossGradient LanguageModelGradient(const Network& net, const Batch& batch,
                                   const at::Tensor& hidden) {
  const at::Tensor next = NextTokens(batch);  // (B, T)
  const at::Tensor known = next.ne(kNoToken);
  const at::Tensor share =
      (known / known.sum(1, /*keepdim=*/true).clamp_min(1)).to(at::kFloat);  // (B, T)
  const at::Tensor targets = next.clamp_min(0).flatten();                    // (B * T)
  const at::Tensor likely = at::empty(targets.sizes(), hidden.options());    // their probabilities
  const at::Tensor by_hidden = GradientThroughLogits(
      net, hidden.flatten(0, 1), [&](const at::Tensor& logits, int64_t begin, at::Tensor* by) {
        const auto own = [&](const at::Tensor& x) { return x.narrow(0, begin, logits.size(0)); };
        own(likely).copy_(NextTokenGradient(logits, own(targets), by));
      });
  const at::Tensor loss = -likely.clamp_min(std::numeric_limits<float>::min()).log();
  return {by_hidden.view_as(hidden) * share.unsqueeze(2),
          (loss * share.flatten()).sum(at::kDouble)};
}

}  // namespace

LossGradient LossGradientAt(const Network& net, const Samples& samples, const Batch& batch,
                            const at::Tensor& hidden, LabelSource labels, uint64_t seed) {
  at::AutoGradMode with_gradients(true);
  if (net.spec.task == Task::kLanguageModel) return LanguageModelGradient(net, batch, hidden);
  const at::Tensor end = hidden.detach().requires_grad_();
  const at::Tensor output = ApplyHead(net, end, batch);
  if (labels == LabelSource::kProbe) {
    return {GradientOf(ProbeLosses(net.spec.task, output, batch, seed).sum(), end),
            ExpectedLosses(net.spec.task, output.detach()).sum(at::kDouble)};
  }
  const at::Tensor losses = SampleLosses(
      net.spec.task, output, MakeTargets(net.spec, samples, batch, output, labels, seed));
  return {GradientOf(losses.sum(), end), losses.detach().sum(at::kDouble)};
}

}  // namespace coppice
