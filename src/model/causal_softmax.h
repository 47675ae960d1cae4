// The softmax of a block of causal attention and its gradient on the CPU, each in one pass over the
// scores: LibTorch makes them of a conversion, a product, a mask, a softmax and another conversion.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

// scores: (N, R * Q, E) bfloat16, contiguous, of the last Q of E tokens, query q of which sees keys
// up to E - Q + q; overwritten with softmax(scores * scale) over these, zeros behind them. scale:
// above zero. exact: undefined, or as large in float32, where the same is left unrounded.
void CausalSoftmax(const at::Tensor& scores, int64_t queries, double scale,
                   const at::Tensor& exact = {});

// by_shares: as scores, the gradient by what CausalSoftmax() makes; overwritten with that by the
// scores. shares: what it leaves in `exact`.
void CausalSoftmaxGradient(const at::Tensor& by_shares, const at::Tensor& shares, int64_t queries,
                           double scale);

}  // namespace coppice
