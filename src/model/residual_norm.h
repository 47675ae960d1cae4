// An encoder's residual sums and norms in bfloat16: one kernel each way on a GPU
// (model/cuda/norm.cu), one loop on the CPU (model/sum_norm_rows.h).
//
//     y = Norm(hidden + X W' + b)
//
// leaves y twice: exactly, for the next sum, and rounded, for the next products. Backward, the
// gradients by both come in, and the gradient by the sum goes out twice: exactly to `hidden`,
// rounded to the product. Mean and deviation, and all sums, are float32; nothing is kept but the
// addends, of which the backward pass makes the norm again. On a GPU the product is float32 and the
// bias is added here, since LibTorch's product with a bias and float32 results takes twice what the
// product does; on the CPU it is rounded, with its bias, as all products are there.
//
// Norms are float32; a GPU's have up to 1024 columns, a multiple of four. Others go by LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "model/network.h"

namespace coppice {

// The residual stream at one place of an encoder or decoder.
struct Hidden {
  Hidden() = default;
  Hidden(at::Tensor stream) : exact(std::move(stream)) {}  // any tensor is a stream
  Hidden(at::Tensor stream, at::Tensor copy) : exact(std::move(stream)), rounded(std::move(copy)) {}

  at::Tensor exact;    // (..., D) float32
  at::Tensor rounded;  // the same in the compute dtype, where it was made along; else undefined
};

// Whether the functions below are for this network: an encoder in bfloat16, on the CPU or on a GPU
// that the kernels are for.
bool HasOwnNorm(const Network& net);

// y. hidden: (..., D) float32; inputs: (..., I) bfloat16, I > 0. by_branch: what is given for the
// gradient by the branch, X W' + b, is the gradient by this leaf of autograd, (..., D) of any
// numbers, which are not read; may be undefined.
Hidden ProjectAndNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const at::Tensor& inputs, const at::Tensor& by_branch);

// Norm(hidden + branch), without autograd: (..., D) float32.
at::Tensor SumAndNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const at::Tensor& branch);

// Whether the embeddings are such that EmbedAndNorm() takes them: all float32 or all bfloat16, on a
// GPU, in a network with HasOwnNorm().
bool HasOwnEmbedding(const Network& net);

// The norm of the embeddings' sum, without autograd: (M, D). ids, places, types: (M) int64; places:
// rows of the position table.
Hidden EmbedAndNorm(const Network& net, const at::Tensor& ids, const at::Tensor& places,
                    const at::Tensor& types);

}  // namespace coppice
