// Attention of texts of up to 128 tokens on a GPU, one kernel each way (model/cuda/attention.cu).
//
//     X = softmax(Q K' scale + bias) V
//
// of encoders, whose projections' joined outputs it reads where they are. LibTorch's fused kernels
// work on tiles of 64 x 64 scores, of which a text of 25 tokens fills a sixth, and want a bias of
// (B, H, T, T). Backward the scores are made again; the bias gets no gradient. Scores and their
// softmax are float32, what the softmax multiplies is rounded to bfloat16.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"
#include "model/text_rows.h"

namespace coppice {

// Whether ShortAttention() is for these texts, whatever the sub-layer.
bool AreShort(const Network& net, const TextRows& texts);

// Whether it is for the sub-layer: joined projections, a head a query, widths of 16 to 128.
bool HasShortAttention(const SubLayer& sub);

// X. joined: (B, T, H * (2 K + F)) or, packed, (M, ...) bfloat16, queries, keys and values; the
// result: (..., H * F), 0 in rows of padding. distance: (2 T - 1) int64 bucket of key - query, from
// -(T - 1) on, where the sub-layer has a bias. mask: a leaf of autograd, (B, H) float32 ones that
// are not read: the gradient by it is that by a mask on each head; may be undefined.
at::Tensor ShortAttention(const SubLayer& sub, const at::Tensor& joined, const TextRows& texts,
                          const at::Tensor& distance, const at::Tensor& mask);

}  // namespace coppice
