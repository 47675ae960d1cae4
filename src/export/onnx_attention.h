// Attention in an encoder's graph: any number of heads a layer, the mask of padding, and the
// relative position bias.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "export/onnx_layers.h"

namespace coppice {

// What the attention of all layers reads.
struct OnnxAttentionInputs {
  std::string keys;  // fused: (B, T) int32, 1 for real tokens
  std::string mask;  // plain: (B, 1, 1, T) float32, added to the scores
  // Of each sub-layer: name of a (1, H, T, T) float32 bias, or empty; plain: with the mask added.
  std::vector<std::string> biases;
};

// ids: (B, T) int64; attention_mask: (B, T) int64, 1 for real tokens, 0 for padding. Layers share
// what they can of the relative bias: a head's is computed once, however many layers keep it.
OnnxAttentionInputs AddAttentionInputs(OnnxBuild* build, const std::string& ids,
                                       const std::string& attention_mask);

// X of the attention sub-layer `index`, which has heads: (B, T, units * E). hidden: (B, T, D).
std::string AddAttention(OnnxBuild* build, const OnnxAttentionInputs& inputs, size_t index,
                         const std::string& hidden, const std::string& scope);

}  // namespace coppice
