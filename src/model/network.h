// A Model's tensors bound to their places in the forward pass, in one compute dtype on one device.
//
// Products run in the compute dtype (float32 or bfloat16); the residual stream, the norms and the
// head stay in float32 (a language model's output matrix is a product like the others), so that a
// bfloat16 run rounds only the operands of products and their outputs.
//
// The sub-layers' matrices are bound once where there is room for them, or stream: then they stay
// where the model has them, mostly in its file, and Fetch() brings one sub-layer's to the device
// and dtype of the products for as long as its handle lives. Work that goes through the network a
// sub-layer at a time, all samples through one before the next, reads each of them once a pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "core/machine_memory.h"
#include "model/ahead.h"
#include "model/model.h"

namespace coppice {

// Where and in which dtype tensors are computed.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  size_t joined_bytes = size_t{32} << 20;  // of matrices with one input that are joined, at most
  // Bytes of the machine's memory that the matrices may take, or the streams, or the matrices of a
  // pruned model, each by itself: more are fetched from their file, or wait in one.
  int64_t memory = kUnlimited;
};

struct Linear {
  at::Tensor weight;  // (out, in) compute dtype
  at::Tensor bias;    // (out) compute dtype, or undefined
};

struct Norm {
  at::Tensor weight;  // (D) float32
  at::Tensor bias;    // (D) float32; undefined for an RMS norm
};

// One residual branch. `in` makes the units' inputs, `out` is the output projection.
struct SubLayer {
  UnitKind kind = UnitKind::kHead;
  int64_t units = 0;
  int64_t width = 1;      // inputs of `out` a unit owns
  int64_t queries = 1;    // attention: query heads a unit has (R)
  int64_t key_width = 1;  // attention: K
  double scale = 1;       // attention: of the scores, 1 / sqrt(E) however narrow the heads are
  at::Tensor turns;    // attention, undefined for all in order: (K) int64 columns of the rotation
  bool gated = false;  // feed-forward
  // Attention: query (R * units * K, D), key (units * K, D), value (units * F, D); feed-forward: up
  // (C, D), or gate and up. Small ones are joined to one matrix, for one product; large ones stay
  // what they are in the file, where they need no memory of their own.
  std::vector<Linear> in;
  at::Tensor relative_bias;  // attention, may be undefined: (buckets, H) float32
  Linear out;                // (D, units * width)
  Norm norm;
};

struct HeadLayer {
  Linear linear;  // float32
  Activation activation = Activation::kIdentity;
};

struct Network {
  ModelSpec spec;
  Compute compute;
  at::Tensor word;        // (V, D) as in the file; of images (V + classes + 1, D)
  at::Tensor position;    // (P, D) as in the file, or undefined
  at::Tensor token_type;  // (types, D) as in the file, or undefined
  Norm embedding_norm;
  std::vector<SubLayer> sub_layers;  // 2L; run what Fetch() gives of them
  bool streamed = false;             // whether the sub-layers' matrices are as the model has them
  std::vector<HeadLayer> head;
  at::Tensor frequencies;        // decoders: float32, of the rotation, as in the spec
  Norm final_norm;               // decoders
  at::Tensor output;             // decoders: (V, D) compute dtype
  std::shared_ptr<Ahead> ahead;  // of a network that streams to a GPU: what Prefetch() has begun
};

// Copies what has another dtype or device, views the rest. Streams beyond compute.memory, on a GPU
// beyond 8 GiB.
Network Bind(const Model& model, const Compute& compute);

// Takes a sub-layer's tensors anew from the model.
void Rebind(const Model& model, size_t index, Network* net);

// A sub-layer that can run. Keep it no longer than it is run: a streamed one's matrices go with it.
using Fetched = std::shared_ptr<const SubLayer>;
Fetched Fetch(const Network& net, size_t index);

// The same for its output projection alone: the matrices of `in` may not be ready.
Fetched FetchOutput(const Network& net, size_t index);

// Begins to fetch, beside what a GPU computes, what Fetch() will be asked for next; of no effect
// where nothing is to be copied, or beyond the last.
void Prefetch(const Network& net, size_t index);

}  // namespace coppice
