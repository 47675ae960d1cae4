// The directions inside a head's queries and keys, the most important first, by how far they move
// the scores: no gradients, and no refit afterwards.
//
// Where positions do not turn queries and keys, with Cq = sum q q' and Ck = sum k k' (centred: what
// all keys share the softmax does not see) the singular vectors
//
//     Cq^1/2 Ck^1/2 = U S V' ,    q -> S^1/2 U' Cq^-1/2 q ,    k -> S^1/2 V' Ck^-1/2 k
//
// leave every score what it was and order the numbers of both by S. Where they turn, only pairs may
// leave, the same of all heads, so that a sub-layer has one list of frequencies: those of the
// largest sum over heads of |q_p| |k_p|, p being a pair's two numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/head_basis.h"
#include "model/network.h"

namespace coppice {

// Sums over tokens of what an attention sub-layer's matrices read.
struct ReaderMoments {
  int64_t tokens = 0;
  at::Tensor gram;  // (D, D) float64; undefined for other sub-layers
  at::Tensor sum;   // (D) float64
};

// Of every sub-layer, from one pass over the samples.
std::vector<ReaderMoments> GatherReaderMoments(const Network& net, const Samples& samples,
                                               const Console& console);

// Fills `query` and `key`, or `pairs`, of the sub-layer's basis. Its heads must all be there as the
// dense model has them.
void AddKeyBasis(const Model& model, size_t index, const ReaderMoments& moments, HeadBasis* basis);

}  // namespace coppice
