#include "pipeline/warm_up.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "score/mask_gradients.h"
#include "score/obs_curve.h"
#include "tune/repair.h"

namespace coppice {
namespace {

constexpr int64_t kWidth = 64, kHeads = 8, kTokens = 16, kBuckets = 32;

// Numbers between -1 and 1 without an order to speak of.
at::Tensor Numbers(at::IntArrayRef shape, const Compute& compute) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  const at::Tensor steps =
      at::arange(1, count + 1, at::TensorOptions(at::kDouble).device(compute.device));
  return steps.square().sin().view(shape).to(compute.dtype);
}

Linear LinearOf(int64_t inputs, int64_t outputs, const Compute& compute) {
  return {Numbers({outputs, inputs}, compute) / 8, Numbers({outputs}, compute)};
}

Network SmallNetwork(const Compute& compute) {
  const Compute exact = {compute.device, at::kFloat};
  const Norm norm = {at::ones({kWidth}, at::TensorOptions(at::kFloat).device(compute.device)),
                     Numbers({kWidth}, exact)};
  Network net;
  net.spec.task = Task::kClassification;
  net.spec.width = kWidth;
  net.spec.norm_eps = 1e-5;
  net.compute = compute;
  net.word = Numbers({kTokens, kWidth}, compute);
  net.position = Numbers({kTokens, kWidth}, compute);
  net.embedding_norm = norm;
  SubLayer attention;
  attention.units = kHeads;
  attention.width = attention.key_width = kWidth / kHeads;
  attention.in = {LinearOf(kWidth, 3 * kWidth, compute)};
  attention.relative_bias = Numbers({kBuckets, kHeads}, exact);
  SubLayer channels;
  channels.kind = UnitKind::kChannel;
  channels.units = kWidth;
  channels.in = {LinearOf(kWidth, kWidth, compute)};
  for (SubLayer* sub : {&attention, &channels}) {
    sub->out = LinearOf(kWidth, kWidth, compute);
    sub->norm = norm;
    net.sub_layers.push_back(*sub);
  }
  net.head = {{LinearOf(kWidth, 2, exact), Activation::kIdentity}};
  return net;
}

Samples SomeSamples() {
  Samples samples;
  for (int32_t tokens = kTokens / 2; tokens <= kTokens; ++tokens) {
    Sample sample;
    for (int32_t id = 0; id < tokens; ++id) sample.encoding.ids.push_back(id);
    sample.encoding.type_ids.assign(static_cast<size_t>(tokens), 0);
    samples.samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace

void WarmUp(const Compute& compute) {
  const Network net = SmallNetwork(compute);
  const MaskGradients gradients =
      ComputeMaskGradients(net, SomeSamples(), {.labels = LabelSource::kProbe, .curvature = true},
                           Console(/*quiet=*/true));
  at::NoGradGuard no_gradients;
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const SubLayer& sub = net.sub_layers[i];
    MakeObsCurve(gradients.curvatures[i], sub.out.weight.t().to(at::kFloat), sub.width, {});
  }
  const at::Tensor x = Numbers({4 * kWidth, kWidth}, compute);
  const at::Tensor residual = Numbers({4 * kWidth, kWidth}, {compute.device, at::kFloat});
  SolveByHeldOut({MomentsOf(x, residual), MomentsOf(x, residual)}, 1e-2, /*fit_bias=*/true);
}

}  // namespace coppice
