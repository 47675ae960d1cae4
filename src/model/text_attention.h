// Attention of encoders on the CPU in bfloat16, written out as products of all heads at once.
//
//     X = softmax(Q K' scale + bias) V
//
// LibTorch's fused kernel works head by head, and its backward pass takes ten times as long as
// batched products. Around these, one loop each takes the heads out of the projections' joined
// outputs, puts them back, and makes shares of scores (model/softmax_rows.h). Scores are rounded to
// bfloat16, as all products on the CPU are, and so are shares; backward they are made again of the
// scores.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"
#include "model/text_rows.h"

namespace coppice {

// Whether TextAttention() is for the sub-layer: joined projections in bfloat16 on the CPU, a head a
// query.
bool HasTextAttention(const SubLayer& sub);

// X. joined: (B, T, H * (2 K + F)), queries, keys and values; the result: (B, T, H * F). texts:
// padded; what a text's tokens see is its own. bias: (H, T, T) float32 or undefined.
at::Tensor TextAttention(const SubLayer& sub, const at::Tensor& joined, const TextRows& texts,
                         const at::Tensor& bias);

}  // namespace coppice
