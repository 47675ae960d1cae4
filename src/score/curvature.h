// The two factors of the loss's curvature at one sub-layer's output projection (K-FAC: Martens and
// Grosse 2015): with x the unit inputs of a token and g the gradient of the loss by the
// projection's output,
//
//     d loss ~ 1/2 tr(G dY'dY) ,    H = sum x x' ,    G = sum g g' / M
//
// so that a change dW of the projection costs 1/2 tr(G dW' H dW) / positions nats, positions being
// what the loss is a mean over: samples, or a language model's tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/gram.h"

namespace coppice {

struct Curvature {
  int64_t positions = 0;  // what the loss is a mean over
  int64_t tokens = 0;     // M
  ProductSum gram;        // (I, I)  X'X
  ProductSum gradient;    // (D, D)  sum over tokens of g g'
  at::Tensor input_sum;   // (I) float64

  // inputs: (M, I) compute dtype. gradients: (M, D) float32, of each sample's loss. Real tokens
  // only.
  void Add(const at::Tensor& inputs, const at::Tensor& gradients);

  // (I) float64.
  at::Tensor InputMean() const;
  // (I, I) float64, the caller's own: X'X, about the means where a bias makes up for them.
  at::Tensor InputGram(bool fit_bias) const;
};

}  // namespace coppice
