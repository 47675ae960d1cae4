// Causal attention in bfloat16 on the CPU, a block of queries at a time.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// softmax(Q K' scale) V, where each token sees itself and those before it. query: (B, G, R, T, K),
// R heads of a group, which share keys; key: (B, G, T, K); value: (B, G, T, F); the result: (B, G,
// R, T, F). Products are in the inputs' dtype, softmax in float32. Differentiable by all three; the
// backward pass makes the scores again, so that none are kept (Dao et al. 2022, section 3.1).
at::Tensor CausalAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           double scale);

}  // namespace coppice
