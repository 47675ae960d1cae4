// The forward pass of post-norm encoders, sub-layer by sub-layer.
//
// Forward() runs the whole model; scores and repair use the steps, since they look at each
// sub-layer's unit inputs X: the rows that its output projection reads, a head's E columns or a
// channel's one column a unit. A sub-layer without units gives X with no columns, and its output is
// the projection's bias.
//
// Everything is functions of values; with gradients enabled, autograd sees through all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "model/batch.h"
#include "model/network.h"

namespace coppice {

// What attention needs beside the hidden states; made once a batch.
struct AttentionContext {
  at::Tensor padding;  // (B, 1, 1, T) float32, 0 or -inf; undefined when nothing is padded
  at::Tensor buckets;  // (T, T) int64 relative position bucket of (query, key); undefined without a
                       // relative bias
};

AttentionContext MakeContext(const Network& net, const Batch& batch);

// Sum of embeddings, normed: (B, T, D) float32.
at::Tensor Embed(const Network& net, const Batch& batch);

// X of a sub-layer: (B, T, units * width) in the compute dtype. hidden: (B, T, D) float32.
at::Tensor UnitInputs(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const AttentionContext& context);

// The branch's output X W' + b: (B, T, D) float32.
at::Tensor Project(const SubLayer& sub, const at::Tensor& inputs);

// Adds the branch to the residual stream and norms: (B, T, D) float32.
at::Tensor AddNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                   const at::Tensor& branch);

// The head, float32: logits (B, labels); question answering start and end logits (B, T, 2), padding
// at -inf; without a head the mean over real tokens, scaled to length 1: (B, D).
at::Tensor ApplyHead(const Network& net, const at::Tensor& hidden, const Batch& batch);

// Called with (sub-layer index, X) in order; what it returns is used as X. Identity when empty.
using UnitObserver = std::function<at::Tensor(size_t, const at::Tensor&)>;

// The whole model; see ApplyHead for the result's shape.
at::Tensor Forward(const Network& net, const Batch& batch, const UnitObserver& observer = {});

}  // namespace coppice
