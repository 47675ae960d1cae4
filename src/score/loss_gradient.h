// Where a backward pass begins: the gradient of the samples' losses by the residual stream at the
// end of the network.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "calibrate/samples.h"
#include "model/network.h"
#include "score/loss.h"

namespace coppice {

struct LossGradient {
  at::Tensor by_hidden;  // (B, T, D) float32 of the losses' sum; of their probes with
                         // LabelSource::kProbe
  at::Tensor loss_sum;  // () float64 of the batch's samples, on the device: who asks for the number
                        // waits for all that the device was asked
};

// hidden: (B, T, D) float32 after the last sub-layer. A language model's logits are made a few
// tokens at a time: those of a whole text would take more memory than the rest of the pass.
LossGradient LossGradientAt(const Network& net, const Samples& samples, const Batch& batch,
                            const at::Tensor& hidden, LabelSource labels, uint64_t seed);

}  // namespace coppice
