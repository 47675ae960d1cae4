#include "score/mask_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "model/forward.h"

namespace coppice {
namespace {

// (B, units): sum over tokens and over a unit's columns, in float32.
at::Tensor SumOverTokens(const SubLayer& sub, const at::Tensor& inputs,
                         const at::Tensor& gradient) {
  const at::Tensor product = inputs.detach().to(at::kFloat) * gradient;  // (B, T, units * width)
  return product.sum(1).view({inputs.size(0), sub.units, sub.width}).sum(2);
}

}  // namespace

MaskGradients ComputeMaskGradients(const Network& net, const Samples& samples,
                                   const MaskGradientOptions& options, const Console& console) {
  MaskGradients result;
  const auto count = static_cast<int64_t>(samples.samples.size());
  const at::TensorOptions exact = at::TensorOptions(at::kFloat).device(net.compute.device);
  for (const SubLayer& sub : net.sub_layers)
    result.rows.push_back(at::zeros({count, sub.units}, exact));
  Progress progress(console, "gradients", count);
  double loss_sum = 0;
  for (const Batch& batch :
       MakeBatches(samples, net.spec, options.batch_tokens, net.compute.device)) {
    at::AutoGradMode with_gradients(true);
    const AttentionContext context = MakeContext(net, batch);
    at::Tensor hidden = Embed(net, batch).detach().requires_grad_();
    std::vector<at::Tensor> inputs;
    std::vector<size_t> owner;  // sub-layer of each entry of inputs
    for (size_t i = 0; i < net.sub_layers.size(); ++i) {
      const SubLayer& sub = net.sub_layers[i];
      const at::Tensor x = UnitInputs(net, sub, hidden, context);
      hidden = AddNorm(net, sub, hidden, Project(sub, x));
      if (sub.units == 0) continue;
      inputs.push_back(x);
      owner.push_back(i);
    }
    const at::Tensor output = ApplyHead(net, hidden, batch);
    const at::Tensor targets =
        MakeTargets(net.spec, samples, batch, output, options.labels, options.seed);
    const at::Tensor loss = SampleLosses(net.spec.task, output, targets).sum();
    const std::vector<at::Tensor> gradients = torch::autograd::grad(
        {loss}, inputs, {}, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
    at::NoGradGuard no_gradients;
    const at::Tensor rows = at::tensor(batch.samples, at::kLong).to(net.compute.device);
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (!gradients[k].defined()) continue;  // nothing after this sub-layer depends on it
      const SubLayer& sub = net.sub_layers[owner[k]];
      result.rows[owner[k]].index_copy_(0, rows, SumOverTokens(sub, inputs[k], gradients[k]));
    }
    loss_sum += loss.item<double>();
    progress.Step(batch.rows());
  }
  result.mean_loss = count > 0 ? loss_sum / static_cast<double>(count) : 0;
  return result;
}

}  // namespace coppice
