#include "model/forward.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <limits>

#include "model/gated_silu.h"
#include "model/linear.h"
#include "model/residual_sum.h"
#include "model/rms_norm.h"
#include "model/text_gelu.h"

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

// What the sub-layer's matrices read, in the compute dtype: (..., D).
at::Tensor ReadRounded(const Network& net, const SubLayer& sub, const Hidden& hidden) {
  if (hidden.rounded.defined()) return hidden.rounded;
  if (HasOwnRmsNorm(net)) return RmsNormRounded(hidden.exact, sub.norm.weight, net.spec.norm_eps);
  return ReadByBranch(net, sub, hidden.exact).to(net.compute.dtype);
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

Hidden Begin(const Network& net, const Batch& batch, const AttentionContext& context) {
  if (!context.texts.packed) return Embed(net, batch);
  if (!HasOwnEmbedding(net)) return RealRows(batch, Embed(net, batch));
  const at::Tensor places = PositionIds(net, batch).expand_as(batch.ids);
  return EmbedAndNorm(net, RealRows(batch, batch.ids), RealRows(batch, places).contiguous(),
                      RealRows(batch, batch.type_ids));
}

Hidden WithNorm(const Network& net, const SubLayer& sub, const Hidden& hidden) {
  if (hidden.rounded.defined() || !HasOwnRmsNorm(net)) return hidden;
  return WithRmsNorm(hidden.exact, sub.norm.weight, net.spec.norm_eps);
}

bool GivesMaskGradient(const Network& net, const SubLayer& sub, const AttentionContext& context) {
  return AttendsWithMask(sub, context) || HasTextGelu(net, sub);
}

at::Tensor UnitInputs(const Network& net, const SubLayer& sub, const Hidden& hidden,
                      const AttentionContext& context, KeyValueCache* cache,
                      const at::Tensor& mask) {
  if (sub.units == 0) {
    std::vector<int64_t> shape = hidden.exact.sizes().vec();
    shape.back() = 0;
    return at::empty(shape, hidden.exact.options().dtype(net.compute.dtype));
  }
  const at::Tensor input = ReadRounded(net, sub, hidden);  // (B, T, D)
  if (sub.kind == UnitKind::kHead) return Attend(sub, input, context, cache, mask);
  if (HasTextGelu(net, sub)) return TextGelu(Apply(sub.in[0], input), context.texts, mask);
  if (HasGatedSilu(net, sub)) {
    return sub.in.size() == 1 ? GatedSilu(Apply(sub.in[0], input))
                              : GatedSilu(Apply(sub.in[0], input), Apply(sub.in[1], input));
  }
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

std::vector<at::Tensor> ChannelSlopes(const Network& net,
                                      const std::vector<at::Tensor>& pre_activations) {
  const at::Tensor slope = Slope(pre_activations[0], net.spec.activation);
  if (pre_activations.size() == 1) return {slope};
  return {slope * pre_activations[1], Activate(pre_activations[0], net.spec.activation)};
}

at::Tensor Project(const SubLayer& sub, const at::Tensor& inputs) {
  return ApplyInFloat(sub.out, inputs);
}

at::Tensor AddBranch(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                     const at::Tensor& branch) {
  if (net.spec.form == BlockForm::kDecoder) return hidden + branch;
  if (HasOwnNorm(net) && !c10::GradMode::is_enabled()) return SumAndNorm(net, sub, hidden, branch);
  return LayerNorm(net, sub.norm, hidden + branch);
}

bool IsFused(const Network& net, const SubLayer& sub) {
  return (HasOwnNorm(net) || HasOwnSum(net)) && sub.units > 0;
}

Hidden ProjectAndAdd(const Network& net, const SubLayer& sub, const Hidden& hidden,
                     const at::Tensor& inputs, const at::Tensor& by_branch) {
  if (!IsFused(net, sub)) return AddBranch(net, sub, hidden.exact, Project(sub, inputs));
  if (HasOwnSum(net)) return ProjectAndSum(sub, hidden.exact, inputs, by_branch);
  return ProjectAndNorm(net, sub, hidden.exact, inputs, by_branch);
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
  const AttentionContext context =
      observer ? MakeContext(net, batch) : MakeFasterContext(net, batch);
  Hidden hidden = Begin(net, batch, context);
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const Fetched sub = Fetch(net, i);
    Prefetch(net, i + 1);
    at::Tensor inputs = UnitInputs(net, *sub, hidden, context);
    if (observer) inputs = observer(i, inputs);
    hidden = ProjectAndAdd(net, *sub, hidden, inputs);
  }
  return Unpacked(context.texts, hidden.exact);
}

at::Tensor Forward(const Network& net, const Batch& batch, const UnitObserver& observer) {
  return ApplyHead(net, RunSubLayers(net, batch, observer), batch);
}

}  // namespace coppice
