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

// The end of the stream, from sub-layer `from` on.
at::Tensor Rest(const Network& net, size_t from, const std::vector<Replacement>& others,
                at::Tensor hidden, const AttentionContext& context) {
  for (size_t i = from; i < net.sub_layers.size(); ++i) {
    const SubLayer& sub = net.sub_layers[i];
    const at::Tensor inputs = UnitInputs(net, sub, hidden, context);
    hidden = AddBranch(net, sub, hidden, Branch(net, i, others, inputs));
  }
  return hidden;
}

// What all refits of a sub-layer share.
struct Target {
  at::Tensor gram;     // (I, I) float64, centred where there is a bias, damped
  at::Tensor mean;     // (I) float64
  at::Tensor weight;   // (I, D) float64 of the whole projection
  at::Tensor outputs;  // (I, D) float64 gram * weight
};

Replacement RefitOne(const Target& target, const SubLayer& dense,
                     const std::vector<int64_t>& kept) {
  Replacement result;
  result.inputs = InputsOf(kept, dense.width, target.gram.device());
  at::Tensor refitted = at::empty({0, target.weight.size(1)}, target.weight.options());
  if (!kept.empty()) {
    const at::Tensor block =
        target.gram.index_select(0, result.inputs).index_select(1, result.inputs);  // (k, k)
    refitted = at::cholesky_solve(target.outputs.index_select(0, result.inputs),
                                  at::linalg_cholesky(block));  // (k, D)
  }
  result.out.weight = refitted.t().to(dense.out.weight.scalar_type()).contiguous();
  if (dense.out.bias.defined()) {
    const at::Tensor shift = at::mv(target.weight.t(), target.mean) -
                             at::mv(refitted.t(), target.mean.index_select(0, result.inputs));
    result.out.bias = (dense.out.bias.to(at::kDouble) + shift).to(dense.out.bias.scalar_type());
  }
  return result;
}

}  // namespace

Replacement Whole(const SubLayer& dense) {
  return {at::arange(dense.units * dense.width,
                     at::TensorOptions(at::kLong).device(dense.out.weight.device())),
          dense.out};
}

std::vector<Replacement> Refit(const Curvature& curvature, const SubLayer& dense,
                               const std::vector<std::vector<int64_t>>& kept, double damping) {
  if (kept.empty() || dense.units == 0) return std::vector<Replacement>(kept.size(), Whole(dense));
  Target target;
  target.gram = curvature.gram.Total();
  target.mean = curvature.input_sum / static_cast<double>(curvature.tokens);
  if (dense.out.bias.defined())
    target.gram.addr_(curvature.input_sum, target.mean, /*beta=*/1, /*alpha=*/-1);
  target.gram.diagonal().add_(damping * target.gram.diagonal().mean());
  target.weight = dense.out.weight.to(target.gram.device(), at::kDouble).t();
  target.outputs = at::mm(target.gram, target.weight);
  std::vector<Replacement> refits;
  for (const std::vector<int64_t>& units : kept) refits.push_back(RefitOne(target, dense, units));
  return refits;
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
    at::Tensor hidden = Embed(net, batch);
    const Reference reference = ReadReference(net, Rest(net, 0, {}, hidden, context), batch);
    for (size_t i = 0; i < count; ++i) {
      const SubLayer& sub = net.sub_layers[i];
      const at::Tensor inputs = UnitInputs(net, sub, hidden, context);
      for (size_t k = 0; k < replacements[i].size(); ++k) {
        const at::Tensor changed =
            AddBranch(net, sub, hidden, ProjectBy(replacements[i][k], inputs));
        const at::Tensor end = Rest(net, i + 1, others, changed, context);
        sums[i][k].Add(DivergenceFrom(reference, net, end, batch));
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
