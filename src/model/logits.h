// A language model's logits, some tokens at a time: those of a whole text would take more memory
// than all else. On the CPU products are of enough rows to share what they read of the output
// matrix, in a block that is used again; what is made of them is made of fewer, which its caches
// hold.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "model/network.h"

namespace coppice {

// Called with the logits (m, V) of the next m rows, and the first's place: float32 on a GPU, on the
// CPU in the network's dtype; see model/distribution.h.
using UseLogits = std::function<void(const at::Tensor& logits, int64_t begin)>;

// hidden: (M, D) float32, rows at the end of the residual stream. room: for the products; what is
// undefined is made, and serves the next call.
void ForLogits(const Network& net, const at::Tensor& hidden, const UseLogits& use,
               at::Tensor* room);

// Writes the gradient of a loss by those logits: (m, V) in the network's dtype, and where the
// logits are in it, in their place.
using GradientByLogits =
    std::function<void(const at::Tensor& logits, int64_t begin, at::Tensor* by_logits)>;

// The gradient of the loss by hidden: (M, D) float32.
at::Tensor GradientThroughLogits(const Network& net, const at::Tensor& hidden,
                                 const GradientByLogits& gradient);

}  // namespace coppice
