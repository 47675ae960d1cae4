#include "score/replacement.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/divergence.h"
#include "model/forward.h"
#include "model/linear.h"

namespace coppice {
namespace {

at::Tensor InputsOf(const std::vector<int64_t>& units, int64_t width, at::Device device) {
  const at::Tensor first = at::tensor(units, at::kLong).unsqueeze(1) * width;
  return (first + at::arange(width, at::kLong)).flatten().to(device);
}

// What a replacement makes of all unit inputs (B, T, I): (B, T, D) float32.
at::Tensor ProjectBy(const Replacement& one, const at::Tensor& inputs) {
  return Apply(one.out, inputs.index_select(2, one.inputs)).to(at::kFloat);
}

// The branch of sub-layer `i` as `others` have it.
at::Tensor Branch(const Network& net, size_t i, const std::vector<Replacement>& others,
                  const at::Tensor& inputs) {
  return others.empty() ? Project(net.sub_layers[i], inputs) : ProjectBy(others[i], inputs);
}

// The outputs from sub-layer `from` on.
at::Tensor Rest(const Network& net, size_t from, const std::vector<Replacement>& others,
                at::Tensor hidden, const Batch& batch, const AttentionContext& context) {
  for (size_t i = from; i < net.sub_layers.size(); ++i) {
    const SubLayer& sub = net.sub_layers[i];
    const at::Tensor inputs = UnitInputs(net, sub, hidden, context);
    hidden = AddBranch(net, sub, hidden, Branch(net, i, others, inputs));
  }
  return ApplyHead(net, hidden, batch);
}

}  // namespace

Replacement Refit(const Curvature& curvature, const SubLayer& dense,
                  const std::vector<int64_t>& kept, double damping) {
  at::Tensor gram = curvature.gram.Total();  // (I, I)
  const at::Device device = gram.device();
  const at::Tensor mean = curvature.input_sum / static_cast<double>(curvature.tokens);
  const bool fit_bias = dense.out.bias.defined();
  if (fit_bias) gram = gram - at::outer(curvature.input_sum, mean);
  gram.diagonal().add_(damping * gram.diagonal().mean());
  const at::Tensor weight = dense.out.weight.to(device, at::kDouble).t();  // (I, D)
  Replacement result;
  result.inputs = InputsOf(kept, dense.width, device);
  const at::Tensor rows = gram.index_select(0, result.inputs);  // (k, I)
  at::Tensor refitted = at::empty({0, weight.size(1)}, weight.options());
  if (!kept.empty()) {
    const at::Tensor factor = at::linalg_cholesky(rows.index_select(1, result.inputs));
    refitted = at::cholesky_solve(at::mm(rows, weight), factor);  // (k, D)
  }
  result.out.weight = refitted.t().to(dense.out.weight.scalar_type()).contiguous();
  if (fit_bias) {
    const at::Tensor shift =
        at::mv(weight.t(), mean) - at::mv(refitted.t(), mean.index_select(0, result.inputs));
    result.out.bias = (dense.out.bias.to(at::kDouble) + shift).to(dense.out.bias.scalar_type());
  }
  return result;
}

Replacement Whole(const SubLayer& dense) {
  return {at::arange(dense.units * dense.width,
                     at::TensorOptions(at::kLong).device(dense.out.weight.device())),
          dense.out};
}

std::vector<std::vector<double>> MeasureReplacements(
    const Network& net, const Samples& samples,
    const std::vector<std::vector<Replacement>>& replacements,
    const std::vector<Replacement>& others, const Console& console) {
  at::NoGradGuard no_gradients;
  const size_t count = net.sub_layers.size();
  std::vector<std::vector<Divergence>> sums(count);
  for (size_t i = 0; i < count; ++i) sums[i].resize(replacements[i].size());
  // On the CPU as many as its caches and the heap's blocks fit.
  const int64_t batch_tokens = net.compute.device.is_cuda() ? 16384 : 1024;
  const std::vector<Batch> batches =
      MakeBatches(samples, net.spec, net.spec.task == Task::kLanguageModel ? 1 : batch_tokens,
                  net.compute.device);
  Progress progress(console, "levels", static_cast<int64_t>(batches.size() * count));
  for (const Batch& batch : batches) {
    const AttentionContext context = MakeContext(net, batch);
    const at::Tensor reference = Forward(net, batch);
    at::Tensor hidden = Embed(net, batch);
    for (size_t i = 0; i < count; ++i) {
      const SubLayer& sub = net.sub_layers[i];
      const at::Tensor inputs = UnitInputs(net, sub, hidden, context);
      for (size_t k = 0; k < replacements[i].size(); ++k) {
        const at::Tensor changed =
            AddBranch(net, sub, hidden, ProjectBy(replacements[i][k], inputs));
        const at::Tensor output = Rest(net, i + 1, others, changed, batch, context);
        sums[i][k].Add(DivergenceOf(net.spec.task, reference, output, batch));
      }
      hidden = AddBranch(net, sub, hidden, Branch(net, i, others, inputs));
      progress.Step();
    }
  }
  std::vector<std::vector<double>> means(count);
  for (size_t i = 0; i < count; ++i) {
    for (const Divergence& sum : sums[i]) means[i].push_back(sum.mean());
  }
  return means;
}

}  // namespace coppice
