#include "model/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "model/causal_attention.h"
#include "model/cuda_rows.h"
#include "model/linear.h"
#include "model/relative_buckets.h"
#include "model/rotation.h"
#include "model/short_attention.h"
#include "model/text_attention.h"

namespace coppice {
namespace {

constexpr int64_t kShortWindow = 128;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// (B, 1, 1, T) float32: 0 at a text's tokens, -inf behind them. lengths: (B) int64.
at::Tensor PaddingAfter(const at::Tensor& lengths, int64_t tokens) {
  const at::Tensor behind = at::arange(tokens, lengths.options()).ge(lengths.unsqueeze(1));
  return at::zeros(behind.sizes(), lengths.options().dtype(at::kFloat))
      .masked_fill(behind, kMinusInfinity)
      .unsqueeze(1)
      .unsqueeze(1);
}

// What is added to the scores by distance, (H, T, T); undefined without a relative bias.
// Contiguous: LibTorch's fused kernels on a GPU take no other.
at::Tensor RelativeBias(const SubLayer& sub, const AttentionContext& context,
                        at::ScalarType dtype) {
  if (!sub.relative_bias.defined()) return {};
  const int64_t tokens = context.buckets.size(0);
  return sub.relative_bias.to(dtype)
      .index_select(0, context.buckets.flatten())
      .view({tokens, tokens, sub.units})
      .permute({2, 0, 1})
      .contiguous();
}

at::Tensor AttentionBias(const SubLayer& sub, const AttentionContext& context,
                         at::ScalarType dtype) {
  at::Tensor padding = context.padding;
  // Packed short texts need none where heads have a kernel; these have not.
  const TextRows& texts = context.texts;
  if (!padding.defined() && !context.causal && texts.packed && texts.lengths.defined())
    padding = PaddingAfter(texts.lengths, texts.longest);
  if (padding.defined()) padding = padding.to(dtype);
  if (!sub.relative_bias.defined()) return padding;
  const at::Tensor bias = RelativeBias(sub, context, dtype).unsqueeze(0);  // (1, H, T, T)
  return padding.defined() ? bias + padding : bias;
}

// Written-out attention of (B, G, R * T, K) queries, whose R heads share a group's keys. On the CPU
// in bfloat16 LibTorch's fused kernel works head by head, and its backward pass takes ten times as
// long as batched products.
at::Tensor MixByProducts(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const at::Tensor& bias, double scale, bool causal) {
  const int64_t tokens = query.size(3);
  const int64_t keys = key.size(2);
  const std::vector<int64_t> flat = {query.size(0), query.size(1), query.size(2) * tokens,
                                     query.size(4)};
  const std::vector<int64_t> full = {query.size(0), query.size(1), query.size(2), tokens, keys};
  at::Tensor scores = at::matmul(query.reshape(flat), key.transpose(2, 3)).to(at::kFloat) * scale;
  if (bias.defined()) scores = scores + bias;  // R is 1
  if (causal) {
    const at::Tensor later =
        at::ones({tokens, keys}, query.options().dtype(at::kBool)).triu(keys - tokens + 1);
    scores =
        scores.view(full).masked_fill(later, kMinusInfinity).view({flat[0], flat[1], -1, keys});
  }
  return at::matmul(at::softmax(scores, -1).to(value.scalar_type()), value)
      .view({query.size(0), query.size(1), query.size(2), tokens, value.size(3)});
}

// Whether LibTorch's fused kernel reads the keys and values of R queries where they are; its others
// want them copied.
bool SharesKeys(const at::Tensor& query, const at::Tensor& bias, int64_t width) {
  return HasKernels({query.device(), query.scalar_type()}) && !bias.defined() && width % 8 == 0 &&
         width <= 256;
}

// softmax(Q K' scale + bias) V. query: (B, G, R, T, K); key: (B, G, keys, K); value: (B, G, keys,
// F); the result: (B, G, R, T, F).
at::Tensor Mix(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
               const at::Tensor& bias, double scale, bool causal) {
  const bool one_token_of_many = query.size(3) != key.size(2);
  const bool fused_is_slow = query.is_cpu() && query.scalar_type() == at::kBFloat16;
  if ((fused_is_slow && !causal) || one_token_of_many)
    return MixByProducts(query, key, value, bias, scale, causal);
  // In short windows attention is little of the work, and the fused kernel's scores are float32.
  if (fused_is_slow && query.size(3) > kShortWindow)
    return CausalAttention(query, key, value, scale);
  // The fused kernels want one width of all three.
  const int64_t width = std::max(query.size(4), value.size(3));
  const auto widened = [&](const at::Tensor& x) {
    return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
  };
  const std::vector<int64_t> heads = {query.size(0), query.size(1) * query.size(2), query.size(3),
                                      width};
  const bool shared = query.size(2) > 1 && SharesKeys(query, bias, width);
  const auto of_each_query = [&](const at::Tensor& x) {
    return query.size(2) == 1 || shared ? widened(x)
                                        : widened(x).repeat_interleave(query.size(2), 1);
  };
  c10::optional<at::Tensor> mask;
  if (bias.defined()) {
    mask = bias.expand({heads[0], heads[1], heads[2], heads[2]});
  }
  return at::scaled_dot_product_attention(widened(query).reshape(heads), of_each_query(key),
                                          of_each_query(value), mask, /*dropout_p=*/0, causal,
                                          scale, /*enable_gqa=*/shared)
      .slice(-1, 0, value.size(3))
      .reshape({query.size(0), query.size(1), query.size(2), query.size(3), value.size(3)});
}

// x: (..., T, K).
at::Tensor RotateFor(const SubLayer& sub, const at::Tensor& x, const AttentionContext& context) {
  if (!context.cosine.defined()) return x;
  const auto own = [&](const at::Tensor& angles) {
    return sub.turns.defined() ? angles.index_select(1, sub.turns) : angles;
  };
  return Rotate(x, own(context.cosine), own(context.sine), context.neighbours);
}

void AddRotation(const Network& net, int64_t first, int64_t tokens, AttentionContext* context) {
  const at::Tensor position = at::arange(first, first + tokens, net.frequencies.options());
  const int64_t grid = net.spec.image.grid;
  context->neighbours = net.spec.rotary.neighbours;
  if (grid == 0) {
    const at::Tensor angles = at::outer(position, net.frequencies);
    context->cosine = at::cat({angles, angles}, 1).cos();
    context->sine = at::cat({angles, angles}, 1).sin();
    return;
  }
  const at::Tensor place = position - 1;  // of the token in the image; the class is before it
  const at::Tensor row = at::floor(place / static_cast<double>(grid));
  const at::Tensor column = place - row * static_cast<double>(grid);
  const at::Tensor angles =
      at::cat({at::outer(row, net.frequencies), at::outer(column, net.frequencies)}, 1)
          .repeat_interleave(2, 1);
  const at::Tensor in_image = place.ge(0).to(at::kFloat).unsqueeze(1);
  context->cosine = angles.cos() * in_image;
  context->sine = angles.sin() * in_image;
}

// Appends (B, units, T, K or F) to what is kept, whose room doubles when it is full; all of it.
at::Tensor Append(const at::Tensor& x, int64_t before, at::Tensor* kept) {
  const int64_t tokens = before + x.size(2);
  if (!kept->defined() || kept->size(2) < tokens) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape[2] = std::max(tokens, 2 * before);
    const at::Tensor wider = at::empty(shape, x.options());
    if (before > 0) wider.slice(2, 0, before).copy_(kept->slice(2, 0, before));
    *kept = wider;
  }
  kept->slice(2, before, tokens).copy_(x);
  return kept->slice(2, 0, tokens);
}

AttentionContext ContextOf(const Network& net, const Batch& batch, const TextRows& texts,
                           int64_t first) {
  AttentionContext context;
  context.texts = texts;
  context.is_short = AreShort(net, texts);
  if (batch.padded && !(texts.packed && context.is_short))
    context.padding = PaddingAfter(texts.lengths, texts.longest);
  const int64_t tokens = texts.longest;
  for (const SubLayer& sub : net.sub_layers) {
    if (!sub.relative_bias.defined()) continue;
    context.buckets = RelativeBuckets(tokens, sub.relative_bias.size(0), batch.ids.options());
    context.distance = at::cat({context.buckets[tokens - 1], context.buckets[0].slice(0, 1)});
    break;
  }
  if (net.spec.form == BlockForm::kDecoder) {
    // Padding stands on the right, where no real token looks.
    context.causal = true;
    context.padding = at::Tensor();
    AddRotation(net, first, tokens, &context);
  }
  return context;
}

}  // namespace

AttentionContext MakeContext(const Network& net, const Batch& batch, int64_t first) {
  return ContextOf(net, batch, PaddedRows(batch), first);
}

AttentionContext MakePackedContext(const Network& net, const Batch& batch) {
  return ContextOf(net, batch, PackedRows(batch), 0);
}

AttentionContext MakeFasterContext(const Network& net, const Batch& batch) {
  const auto takes_packed = [](const SubLayer& sub) {
    return sub.kind != UnitKind::kHead || sub.units == 0 || HasShortAttention(sub);
  };
  const bool packs = AreShort(net, PaddedRows(batch)) &&
                     std::all_of(net.sub_layers.begin(), net.sub_layers.end(), takes_packed);
  return packs ? MakePackedContext(net, batch) : MakeContext(net, batch);
}

bool AttendsWithMask(const SubLayer& sub, const AttentionContext& context) {
  return context.is_short && HasShortAttention(sub);
}

at::Tensor Attend(const SubLayer& sub, const at::Tensor& hidden, const AttentionContext& context,
                  KeyValueCache* cache, const at::Tensor& mask) {
  if (AttendsWithMask(sub, context) && cache == nullptr) {
    return ShortAttention(sub, Apply(sub.in[0], hidden), context.texts, context.distance, mask);
  }
  if (HasTextAttention(sub) && !context.causal && cache == nullptr) {
    const at::Tensor joined = Unpacked(context.texts, Apply(sub.in[0], hidden));
    return Packed(context.texts, TextAttention(sub, joined, context.texts,
                                               RelativeBias(sub, context, at::kFloat)));
  }
  const int64_t keys = sub.units * sub.key_width;
  std::vector<at::Tensor> parts =
      ApplyAll(sub.in, hidden, {keys * sub.queries, keys, sub.units * sub.width / sub.queries});
  for (at::Tensor& part : parts) part = Unpacked(context.texts, part);
  const int64_t rows = parts[0].size(0);
  const int64_t tokens = parts[0].size(1);
  const at::Tensor query = RotateFor(
      sub,
      parts[0].view({rows, tokens, sub.units, sub.queries, sub.key_width}).permute({0, 2, 3, 1, 4}),
      context);
  const auto by_unit = [&](const at::Tensor& x) {
    return x.view({rows, tokens, sub.units, x.size(2) / sub.units}).transpose(1, 2);
  };
  at::Tensor key = RotateFor(sub, by_unit(parts[1]), context);
  at::Tensor value = by_unit(parts[2]);
  if (cache != nullptr) {
    key = Append(key, cache->tokens, &cache->key);
    value = Append(value, cache->tokens, &cache->value);
    cache->tokens += tokens;
  }
  const at::ScalarType bias = hidden.is_cuda() ? hidden.scalar_type() : at::kFloat;
  const at::Tensor mixed = Mix(query, key, value, AttentionBias(sub, context, bias), sub.scale,
                               context.causal);  // (B, G, R, T, F)
  return Packed(context.texts,
                mixed.permute({0, 3, 1, 2, 4}).reshape({rows, tokens, sub.units * sub.width}));
}

}  // namespace coppice
