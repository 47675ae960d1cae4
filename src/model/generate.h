// A language model run piece by piece: a prompt, then token after token, with keys and values kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention.h"
#include "model/network.h"

namespace coppice {

// What is kept between pieces.
struct Generation {
  std::vector<KeyValueCache> caches;  // of every sub-layer
  int64_t tokens = 0;                 // so far
};

// Reads more tokens; logits of the one that comes next, (B, V) float32. ids: (B, T) int64 on the
// network's device, without padding; B is the same in every call.
at::Tensor Extend(const Network& net, const at::Tensor& ids, Generation* generation);

}  // namespace coppice
