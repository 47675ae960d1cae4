// Attention of one sub-layer: heads of any number, KV groups of any number of query heads, with a
// relative position bias (encoders) or rotated and causal (decoders).
#pragma once

#include <ATen/core/Tensor.h>

#include "model/batch.h"
#include "model/network.h"
#include "model/text_rows.h"

namespace coppice {

// What attention needs beside the hidden states; made once a batch.
struct AttentionContext {
  TextRows texts;         // padded or packed
  bool is_short = false;  // whether ShortAttention() is for the texts
  at::Tensor padding;     // (B, 1, 1, T) float32, 0 or -inf; undefined when nothing is padded
  at::Tensor buckets;  // (T, T) int64 relative position bucket of (query, key); undefined without a
                       // relative bias
  at::Tensor distance;      // (2 T - 1) int64 the same of key - query, from -(T - 1) on
  at::Tensor cosine, sine;  // (T, E) float32; undefined without rotation
  bool neighbours = false;  // whether pairs that turn are neighbours
  bool causal = false;
};

// Keys and values of the tokens before, for generation token by token.
struct KeyValueCache {
  at::Tensor key;      // (B, units, room, K) compute dtype, room >= tokens; undefined at the start
  at::Tensor value;    // (B, units, room, F)
  int64_t tokens = 0;  // so far
};

// first: position of the batch's first token.
AttentionContext MakeContext(const Network& net, const Batch& batch, int64_t first = 0);

// The same for rows without padding, of which attention makes padded ones for itself where it has
// no kernel that reads them as they are.
AttentionContext MakePackedContext(const Network& net, const Batch& batch);

// Packed where it has that kernel in all sub-layers (model/short_attention.h), padded elsewhere:
// the faster of the two where rows alone do not matter.
AttentionContext MakeFasterContext(const Network& net, const Batch& batch);

// Whether Attend() gives the gradient by a mask on the sub-layer's units.
bool AttendsWithMask(const SubLayer& sub, const AttentionContext& context);

// X of an attention sub-layer: (B, T, units * R * F) in the compute dtype. hidden: (B, T, D), what
// the sub-layer's projections read; both are (M, ...) where rows are packed. With a cache, keys and
// values are appended to it and every token of it is attended to. mask: see ShortAttention(); where
// AttendsWithMask().
at::Tensor Attend(const SubLayer& sub, const at::Tensor& hidden, const AttentionContext& context,
                  KeyValueCache* cache = nullptr, const at::Tensor& mask = {});

}  // namespace coppice
