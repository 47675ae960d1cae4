// Gradients of every sample's loss with respect to a mask on each unit, from one backward pass.
//
// A mask m multiplies a unit's inputs x of the output projection, so dL/dm at m = 1 is the sum over
// tokens (and over a head's E columns) of x * dL/dx (Kwon et al. 2022, section 4.1, where the mask
// of a head multiplies its attention probabilities, which is the same). Weights need no gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"
#include "score/loss.h"

namespace coppice {

struct MaskGradients {
  std::vector<at::Tensor>
      rows;  // of each sub-layer (2L): (N, units) float32 on the network's device, row = sample
  double mean_loss = 0;
};

struct MaskGradientOptions {
  LabelSource labels = LabelSource::kData;
  uint64_t seed = 0;            // of drawn labels
  int64_t batch_tokens = 2048;  // bounds the memory of the activations that the backward pass needs
};

MaskGradients ComputeMaskGradients(const Network& net, const Samples& samples,
                                   const MaskGradientOptions& options, const Console& console);

}  // namespace coppice
