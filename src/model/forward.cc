#include "model/forward.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

at::Tensor Activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kTanh:
      return at::tanh(x);
    case Activation::kIdentity:
      return x;
  }
  Check(false, "unknown activation");
  return x;
}

// Zero inputs leave the bias alone, and not every product kernel takes a matrix without columns.
at::Tensor Apply(const Linear& linear, const at::Tensor& x) {
  if (linear.weight.size(1) == 0 || linear.weight.size(0) == 0) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = linear.weight.size(0);
    return linear.bias.expand(shape);
  }
  return at::linear(x.to(linear.weight.scalar_type()), linear.weight, linear.bias);
}

// Row of the position table for every token.
at::Tensor PositionIds(const Network& net, const Batch& batch) {
  const int64_t tokens = batch.ids.size(1);
  if (net.spec.positions == PositionRule::kFromZero) {
    return at::arange(tokens, batch.ids.options()).unsqueeze(0);
  }
  const at::Tensor real = batch.ids.ne(net.spec.pad_id).to(at::kLong);
  return at::cumsum(real, 1) * real + net.spec.pad_id;
}

// Buckets of relative positions: half for each direction, the first half of those exact, the rest
// logarithmic up to distance 128 (Raffel et al. 2020, section 2.1, as MPNet uses them).
at::Tensor RelativeBuckets(int64_t tokens, int64_t buckets, const at::TensorOptions& options) {
  constexpr int64_t kMaxDistance = 128;
  const at::Tensor position = at::arange(tokens, options);
  const at::Tensor behind = position.unsqueeze(1) - position.unsqueeze(0);  // (T, T) query - key
  const int64_t half = buckets / 2;
  const int64_t exact = half / 2;
  const at::Tensor distance = behind.abs();
  const at::Tensor logarithmic =
      exact +
      (at::log(distance.to(at::kFloat) / exact) /
       std::log(static_cast<double>(kMaxDistance) / static_cast<double>(exact)) * (half - exact))
          .to(at::kLong);
  const at::Tensor bucket =
      at::where(distance.lt(exact), distance, logarithmic.clamp_max(half - 1));
  return bucket + behind.lt(0).to(at::kLong) * half;
}

at::Tensor AttentionBias(const SubLayer& sub, const AttentionContext& context) {
  if (!sub.relative_bias.defined()) return context.padding;
  const int64_t tokens = context.buckets.size(0);
  at::Tensor bias = sub.relative_bias.index_select(0, context.buckets.flatten())
                        .view({tokens, tokens, sub.units})
                        .permute({2, 0, 1})
                        .unsqueeze(0);  // (1, H, T, T)
  return context.padding.defined() ? bias + context.padding : bias;
}

// softmax(Q K' / sqrt(E) + bias) V for (B, H, T, E) parts. On the CPU in bfloat16, LibTorch's fused
// kernel works head by head and its backward pass takes ten times as long as batched products.
at::Tensor Mix(const std::vector<at::Tensor>& parts, const at::Tensor& bias) {
  const at::Tensor& query = parts[0];
  if (query.is_cpu() && query.scalar_type() == at::kBFloat16) {
    at::Tensor scores = at::matmul(query, parts[1].transpose(2, 3)).to(at::kFloat) /
                        std::sqrt(static_cast<double>(query.size(3)));
    if (bias.defined()) scores = scores + bias;
    return at::matmul(at::softmax(scores, -1).to(at::kBFloat16), parts[2]);
  }
  if (!bias.defined()) return at::scaled_dot_product_attention(query, parts[1], parts[2]);
  const std::vector<int64_t> shape = {query.size(0), query.size(1), query.size(2), query.size(2)};
  return at::scaled_dot_product_attention(query, parts[1], parts[2],
                                          bias.to(query.scalar_type()).expand(shape));
}

at::Tensor Attention(const SubLayer& sub, const at::Tensor& hidden,
                     const AttentionContext& context) {
  const int64_t rows = hidden.size(0);
  const int64_t tokens = hidden.size(1);
  const at::Tensor joint = Apply(sub.in, hidden).view({rows, tokens, 3, sub.units, sub.width});
  const std::vector<at::Tensor> parts = joint.permute({2, 0, 3, 1, 4}).unbind(0);
  const at::Tensor mixed = Mix(parts, AttentionBias(sub, context));  // (B, H, T, E)
  return mixed.transpose(1, 2).reshape({rows, tokens, sub.units * sub.width});
}

at::Tensor LayerNorm(const Network& net, const Norm& norm, const at::Tensor& x) {
  return at::layer_norm(x, {net.spec.width}, norm.weight, norm.bias, net.spec.norm_eps);
}

}  // namespace

AttentionContext MakeContext(const Network& net, const Batch& batch) {
  AttentionContext context;
  if (batch.padded) {
    context.padding = at::zeros(batch.mask.sizes(), batch.ids.options().dtype(at::kFloat))
                          .masked_fill(batch.mask.logical_not(), kMinusInfinity)
                          .unsqueeze(1)
                          .unsqueeze(1);
  }
  for (const SubLayer& sub : net.sub_layers) {
    if (!sub.relative_bias.defined()) continue;
    context.buckets =
        RelativeBuckets(batch.ids.size(1), sub.relative_bias.size(0), batch.ids.options());
    break;
  }
  return context;
}

at::Tensor Embed(const Network& net, const Batch& batch) {
  at::Tensor sum = at::embedding(net.word, batch.ids).to(at::kFloat) +
                   at::embedding(net.position, PositionIds(net, batch)).to(at::kFloat);
  if (net.token_type.defined())
    sum = sum + at::embedding(net.token_type, batch.type_ids).to(at::kFloat);
  return LayerNorm(net, net.embedding_norm, sum);
}

at::Tensor UnitInputs(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const AttentionContext& context) {
  if (sub.units == 0) {
    return at::empty({hidden.size(0), hidden.size(1), 0},
                     hidden.options().dtype(net.compute.dtype));
  }
  if (sub.kind == UnitKind::kHead) return Attention(sub, hidden, context);
  return Activate(Apply(sub.in, hidden), net.spec.activation);
}

at::Tensor Project(const SubLayer& sub, const at::Tensor& inputs) {
  return Apply(sub.out, inputs).to(at::kFloat);
}

at::Tensor AddNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                   const at::Tensor& branch) {
  return LayerNorm(net, sub.norm, hidden + branch);
}

at::Tensor ApplyHead(const Network& net, const at::Tensor& hidden, const Batch& batch) {
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

at::Tensor Forward(const Network& net, const Batch& batch, const UnitObserver& observer) {
  const AttentionContext context = MakeContext(net, batch);
  at::Tensor hidden = Embed(net, batch);
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const SubLayer& sub = net.sub_layers[i];
    at::Tensor inputs = UnitInputs(net, sub, hidden, context);
    if (observer) inputs = observer(i, inputs);
    hidden = AddNorm(net, sub, hidden, Project(sub, inputs));
  }
  return ApplyHead(net, hidden, batch);
}

}  // namespace coppice
