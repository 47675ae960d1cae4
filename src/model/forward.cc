#include "model/forward.h"

#include <ATen/ATen.h>

#include <limits>

#include "model/linear.h"

namespace coppice {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Row of the position table for every token.
at::Tensor PositionIds(const Network& net, const Batch& batch) {
  const int64_t tokens = batch.ids.size(1);
  if (net.spec.positions == PositionRule::kFromZero) {
    return at::arange(tokens, batch.ids.options()).unsqueeze(0);
  }
  const at::Tensor real = batch.ids.ne(net.spec.pad_id).to(at::kLong);
  return at::cumsum(real, 1) * real + net.spec.pad_id;
}

at::Tensor RmsNorm(const Network& net, const Norm& norm, const at::Tensor& x) {
  return at::rms_norm(x, {net.spec.width}, norm.weight, net.spec.norm_eps);
}

at::Tensor LayerNorm(const Network& net, const Norm& norm, const at::Tensor& x) {
  return at::layer_norm(x, {net.spec.width}, norm.weight, norm.bias, net.spec.norm_eps);
}

}  // namespace

at::Tensor Embed(const Network& net, const Batch& batch) {
  if (net.spec.form == BlockForm::kDecoder) {
    return at::embedding(net.word, batch.ids).to(at::kFloat);
  }
  at::Tensor sum = at::embedding(net.word, batch.ids).to(at::kFloat) +
                   at::embedding(net.position, PositionIds(net, batch)).to(at::kFloat);
  if (net.token_type.defined())
    sum = sum + at::embedding(net.token_type, batch.type_ids).to(at::kFloat);
  return LayerNorm(net, net.embedding_norm, sum);
}

at::Tensor ReadByBranch(const Network& net, const SubLayer& sub, const at::Tensor& hidden) {
  return net.spec.form == BlockForm::kDecoder ? RmsNorm(net, sub.norm, hidden) : hidden;
}

at::Tensor UnitInputs(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const AttentionContext& context, KeyValueCache* cache) {
  if (sub.units == 0) {
    return at::empty({hidden.size(0), hidden.size(1), 0},
                     hidden.options().dtype(net.compute.dtype));
  }
  const at::Tensor input = ReadByBranch(net, sub, hidden).to(net.compute.dtype);  // (B, T, D)
  if (sub.kind == UnitKind::kHead) return Attend(sub, input, context, cache);
  return Channels(net, PreActivations(sub, input));
}

std::vector<at::Tensor> PreActivations(const SubLayer& sub, const at::Tensor& input) {
  if (!sub.gated) return {Apply(sub.in[0], input)};
  return ApplyAll(sub.in, input, {sub.units, sub.units});
}

at::Tensor Channels(const Network& net, const std::vector<at::Tensor>& pre_activations) {
  const at::Tensor active = Activate(pre_activations[0], net.spec.activation);
  return pre_activations.size() == 1 ? active : active * pre_activations[1];
}

at::Tensor Project(const SubLayer& sub, const at::Tensor& inputs) {
  return ApplyInFloat(sub.out, inputs);
}

at::Tensor AddBranch(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                     const at::Tensor& branch) {
  if (net.spec.form == BlockForm::kDecoder) return hidden + branch;
  return LayerNorm(net, sub.norm, hidden + branch);
}

at::Tensor ReadByHead(const Network& net, const at::Tensor& hidden) {
  return RmsNorm(net, net.final_norm, hidden);
}

at::Tensor ApplyHead(const Network& net, const at::Tensor& hidden, const Batch& batch) {
  if (net.spec.task == Task::kLanguageModel) {
    return ApplyInFloat({net.output, {}}, ReadByHead(net, hidden));
  }
  if (net.spec.task == Task::kNone) {
    const at::Tensor mask = batch.mask.to(at::kFloat).unsqueeze(-1);  // (B, T, 1)
    const at::Tensor mean = (hidden * mask).sum(1) / mask.sum(1);
    return mean / mean.norm(2, {1}, true).clamp_min(1e-12);
  }
  const bool every_token = net.spec.task == Task::kQuestionAnswering;
  at::Tensor x = every_token ? hidden : hidden.select(1, 0);
  for (const HeadLayer& layer : net.head) x = Activate(Apply(layer.linear, x), layer.activation);
  if (every_token && batch.padded)
    x = x.masked_fill(batch.mask.logical_not().unsqueeze(-1), kMinusInfinity);
  return x;
}

at::Tensor RunSubLayers(const Network& net, const Batch& batch, const UnitObserver& observer) {
  const AttentionContext context = MakeContext(net, batch);
  at::Tensor hidden = Embed(net, batch);
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const Fetched sub = Fetch(net, i);
    Prefetch(net, i + 1);
    at::Tensor inputs = UnitInputs(net, *sub, hidden, context);
    if (observer) inputs = observer(i, inputs);
    hidden = AddBranch(net, *sub, hidden, Project(*sub, inputs));
  }
  return hidden;
}

at::Tensor Forward(const Network& net, const Batch& batch, const UnitObserver& observer) {
  return ApplyHead(net, RunSubLayers(net, batch, observer), batch);
}

}  // namespace coppice
