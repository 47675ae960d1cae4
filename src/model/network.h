// A Model's tensors bound to their places in the forward pass, in one compute dtype on one device.
//
// Products run in the compute dtype (float32 or bfloat16); the residual stream, the norms and the
// head stay in float32 (a language model's output matrix is a product like the others), so that a
// bfloat16 run rounds only the operands of products and their outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

#include "model/model.h"

namespace coppice {

// Where and in which dtype tensors are computed.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  size_t joined_bytes = size_t{32} << 20;  // of matrices with one input that are joined, at most
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
  int64_t width = 1;    // inputs of `out` a unit owns
  int64_t queries = 1;  // attention: query heads a unit has (R)
  bool gated = false;   // feed-forward
  // Attention: query (R * units * E, D), key and value (units * E, D); feed-forward: up (C, D), or
  // gate and up. Small ones are joined to one matrix, for one product; large ones stay what they
  // are in the file, where they need no memory of their own.
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
  std::vector<SubLayer> sub_layers;  // 2L
  std::vector<HeadLayer> head;
  at::Tensor frequencies;  // decoders: float32, of the rotation, as in the spec
  Norm final_norm;         // decoders
  at::Tensor output;       // decoders: (V, D) compute dtype
};

// Copies what has another dtype or device, views the rest.
Network Bind(const Model& model, const Compute& compute);

// The same for one sub-layer.
SubLayer BindSubLayer(const Model& model, const SubLayerSpec& spec, const Compute& compute);

}  // namespace coppice
