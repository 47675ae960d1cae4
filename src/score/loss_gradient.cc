#include "score/loss_gradient.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "core/machine_memory.h"
#include "model/forward.h"

namespace coppice {
namespace {

at::Tensor GradientOf(const at::Tensor& scalar, const at::Tensor& by) {
  return torch::autograd::grad({scalar}, {by})[0];
}

// Tokens whose logits are there at one time: on the CPU blocks that the process keeps.
int64_t TokensAtOnce(int64_t vocabulary, at::Device device) {
  const int64_t numbers = device.is_cuda() ? int64_t{1} << 28 : kKeptBlockBytes / 4 - 1;
  return std::max<int64_t>(16, numbers / vocabulary);
}

// A sample's loss is a mean over its next tokens.
LossGradient LanguageModelGradient(const Network& net, const Batch& batch,
                                   const at::Tensor& hidden) {
  const at::Tensor next = NextTokens(batch);  // (B, T)
  const at::Tensor shares =
      1 / next.ne(kNoToken).sum(1, /*keepdim=*/true).clamp_min(1).to(at::kFloat);  // (B, 1)
  const at::Tensor share = shares.expand_as(next).flatten();                       // (B * T)
  const at::Tensor tokens = hidden.flatten(0, 1);                                  // (B * T, D)
  const at::Tensor targets = next.flatten();
  at::Tensor by_hidden = at::empty_like(tokens);
  at::Tensor sum = at::zeros({}, tokens.options().dtype(at::kDouble));
  const int64_t rows = TokensAtOnce(net.spec.vocabulary, hidden.device());
  for (int64_t begin = 0; begin < tokens.size(0); begin += rows) {
    const at::Tensor part = tokens.slice(0, begin, begin + rows).detach().requires_grad_();
    const at::Tensor losses =
        at::cross_entropy_loss(ApplyHead(net, part, batch), targets.slice(0, begin, begin + rows),
                               {}, at::Reduction::None, kNoToken);
    const at::Tensor loss = (losses * share.slice(0, begin, begin + rows)).sum();
    by_hidden.slice(0, begin, begin + rows).copy_(GradientOf(loss, part));
    sum += loss.detach();
  }
  return {by_hidden.view_as(hidden), sum.item<double>()};
}

}  // namespace

LossGradient LossGradientAt(const Network& net, const Samples& samples, const Batch& batch,
                            const at::Tensor& hidden, LabelSource labels, uint64_t seed) {
  at::AutoGradMode with_gradients(true);
  if (net.spec.task == Task::kLanguageModel) return LanguageModelGradient(net, batch, hidden);
  const at::Tensor end = hidden.detach().requires_grad_();
  const at::Tensor output = ApplyHead(net, end, batch);
  const at::Tensor losses = SampleLosses(
      net.spec.task, output, MakeTargets(net.spec, samples, batch, output, labels, seed));
  const at::Tensor differentiated =
      labels == LabelSource::kProbe ? ProbeLosses(net.spec.task, output, batch, seed) : losses;
  return {GradientOf(differentiated.sum(), end), losses.sum().item<double>()};
}

}  // namespace coppice
