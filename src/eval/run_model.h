// Runs a model over samples and keeps the output of each.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"

namespace coppice {

// Output of every sample, float32 on the CPU, padding cut away: logits (labels), start and end
// logits (T, 2), log-probabilities of the next tokens that are known, or an embedding (D); see
// ApplyHead().
std::vector<at::Tensor> RunModel(const Network& net, const Samples& samples,
                                 const Console& console);

}  // namespace coppice
