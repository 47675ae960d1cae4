// The directions inside a head's values, the most important first: the exact eigen-decomposition of
// what cutting them costs.
//
// With Z the inputs of the output projection that a KV group owns, A = Z'Z summed over its R query
// heads (centred where a bias takes the means), W_1 .. W_R (F, D) their rows of the projection and
// G the metric of the loss, the singular vectors
//
//     A^1/2 [W_1 .. W_R] G^1/2 = U S V'
//
// give the nested spaces that lose least: the values Z A^-1/2 U_k, refitted, lose the sum of the
// squares of S beyond k, which no other k directions beat (of one query head; of several it is that
// of their mean inputs). An orthogonal basis of the same spaces, by QR, leaves the weights as well
// conditioned as they were, so that turning the whole head is free and the refit is left to the
// repair.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "score/curvature.h"

namespace coppice {

struct ValueBasisOptions {
  int64_t queries = 1;   // query heads a unit has (R)
  bool fit_bias = true;  // means are left to a bias: the output projection has one
};

// weight: (I, D) the output projection; units: KV groups. (units, F, F) float64 on the CPU,
// orthogonal: column j is the direction j.
at::Tensor MakeValueBasis(const Curvature& curvature, const at::Tensor& weight, int64_t units,
                          const ValueBasisOptions& options);

}  // namespace coppice
