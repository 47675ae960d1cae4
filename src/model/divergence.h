// How far a model's outputs are from a reference's on the same batch, in nats where that has a
// meaning; what search and repair are judged by on held-out examples.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/batch.h"
#include "model/network.h"

namespace coppice {

struct Divergence {
  double sum = 0;
  double count = 0;  // samples, or a language model's tokens
  double mean() const { return count > 0 ? sum / count : 0; }
  void Add(const Divergence& other) {
    sum += other.sum;
    count += other.count;
  }
};

// KL(reference || output): of classes, of next tokens, of start and end positions (their mean).
// Regression and embeddings: half the squared distance, the KL of unit Gaussians. Outputs as
// ApplyHead() gives them.
Divergence DivergenceOf(Task task, const at::Tensor& reference, const at::Tensor& output,
                        const Batch& batch);

// A reference that many outputs are compared with, as it is needed for that.
struct Reference {
  at::Tensor outputs;  // of a language model the probabilities p of the real tokens' next tokens,
                       // (M, V) float32; otherwise what ApplyHead() gives
  at::Tensor certainty = {};  // of a language model: (M) float32 the sums of p log p
  at::Tensor room = {};       // of a language model: for products of the others' logits
};

// hidden: (B, T, D) float32, the end of the network's residual stream on the batch.
Reference ReadReference(const Network& net, const at::Tensor& hidden, const Batch& batch);

// As DivergenceOf(), of the outputs at the end of another stream. A language model's are made and
// compared a few tokens at a time, and are never there as a whole.
Divergence DivergenceFrom(const Reference& reference, const Network& net, const at::Tensor& hidden,
                          const Batch& batch);

}  // namespace coppice
