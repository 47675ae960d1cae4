// The forward pass, sub-layer by sub-layer.
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
#include <vector>

#include "model/attention.h"
#include "model/batch.h"
#include "model/network.h"
#include "model/residual_norm.h"

namespace coppice {

// Sum of embeddings, in encoders normed: (B, T, D) float32.
at::Tensor Embed(const Network& net, const Batch& batch);

// What the sub-layer's matrices read: the stream itself, or its RMS norm: (B, T, D) float32.
at::Tensor ReadByBranch(const Network& net, const SubLayer& sub, const at::Tensor& hidden);

// The stream after the embeddings, packed where the context's rows are: (B, T, D) or (M, D).
Hidden Begin(const Network& net, const Batch& batch, const AttentionContext& context);

// The stream with what the sub-layer's matrices read of it beside it, where a kernel makes that:
// backward, gradients by both are added up in it.
Hidden WithNorm(const Network& net, const SubLayer& sub, const Hidden& hidden);

// X of a sub-layer: (B, T, units * width) in the compute dtype. hidden: (B, T, D). Where the
// context's rows are packed, both are (M, ...). cache: of this sub-layer, for generation. mask: a
// leaf of autograd, where GivesMaskGradient(): (B, units) float32 ones that are not read, by which
// the gradient is that by a mask on each unit.
at::Tensor UnitInputs(const Network& net, const SubLayer& sub, const Hidden& hidden,
                      const AttentionContext& context, KeyValueCache* cache = nullptr,
                      const at::Tensor& mask = {});

bool GivesMaskGradient(const Network& net, const SubLayer& sub, const AttentionContext& context);

// What a feed-forward sub-layer's channels are before the activation: of up (..., C), or of gate
// and up. input: (..., D) as its matrices read it, in the compute dtype.
std::vector<at::Tensor> PreActivations(const SubLayer& sub, const at::Tensor& input);

// X of them: (..., C).
at::Tensor Channels(const Network& net, const std::vector<at::Tensor>& pre_activations);

// What a pre-activation more adds to them, dX / dz of each: (..., C).
std::vector<at::Tensor> ChannelSlopes(const Network& net,
                                      const std::vector<at::Tensor>& pre_activations);

// The branch's output X W' + b: (B, T, D) float32.
at::Tensor Project(const SubLayer& sub, const at::Tensor& inputs);

// Adds the branch to the residual stream; encoders norm the sum: (B, T, D) float32.
at::Tensor AddBranch(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                     const at::Tensor& branch);

// Both at once, AddBranch(Project(inputs)). by_branch: a leaf of autograd by which the gradient is
// that by the branch's output, where IsFused(); see ProjectAndNorm().
Hidden ProjectAndAdd(const Network& net, const SubLayer& sub, const Hidden& hidden,
                     const at::Tensor& inputs, const at::Tensor& by_branch = {});

// Whether ProjectAndAdd() is one step, without a branch's output in between.
bool IsFused(const Network& net, const SubLayer& sub);

// What a language model's output matrix reads, the final RMS norm: (..., D) float32.
at::Tensor ReadByHead(const Network& net, const at::Tensor& hidden);

// The head, float32: logits (B, labels); a language model's (B, T, V); question answering start and
// end logits (B, T, 2), padding at -inf; without a head the mean over real tokens, scaled to length
// 1: (B, D).
at::Tensor ApplyHead(const Network& net, const at::Tensor& hidden, const Batch& batch);

// Called with (sub-layer index, X), padded, in order; what it returns is used as X. Identity when
// empty.
using UnitObserver = std::function<at::Tensor(size_t, const at::Tensor&)>;

// The residual stream after all sub-layers: (B, T, D) float32.
at::Tensor RunSubLayers(const Network& net, const Batch& batch, const UnitObserver& observer = {});

// The whole model; see ApplyHead for the result's shape.
at::Tensor Forward(const Network& net, const Batch& batch, const UnitObserver& observer = {});

}  // namespace coppice
