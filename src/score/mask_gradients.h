// Gradients of every sample's loss with respect to a mask on each unit, from one backward pass.
//
// The pass goes through the network segment by segment, all samples through one segment before the
// one ahead of it, so that a sub-layer's statistics are whole, and can be used and dropped, when
// the pass leaves it. A segment is as many sub-layers as the activations of one batch, and the
// statistics of all, leave room for: in small models that is all of them. Where there are several,
// a forward pass first leaves the residual stream at the start of each, and the backward pass runs
// the segment again from there, which costs one more forward pass (Chen et al. 2016).
//
// A mask m multiplies a unit's inputs x of the output projection, so dL/dm at m = 1 is the sum over
// tokens (and over a head's E columns) of x * dL/dx (Kwon et al. 2022, section 4.1, where the mask
// of a head multiplies its attention probabilities, which is the same). Weights need no gradients.
//
// The sum over tokens may be taken over shorter stretches, each a row: a mask that acts on one
// stretch of a text alone. Where a sample is long and samples are few, more rows make squares less
// noisy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"
#include "score/curvature.h"
#include "score/loss.h"
#include "score/segments.h"

namespace coppice {

// Of one sub-layer.
struct SubLayerGradients {
  at::Tensor rows;       // (N * rows a sample, units) float32 on the network's device
  Curvature curvature;   // where asked for
  double mean_loss = 0;  // of the samples
};

// Of all, at once.
struct MaskGradients {
  std::vector<at::Tensor>
      rows;  // of each sub-layer (2L): (N * rows a sample, units) float32 on the network's device
  std::vector<Curvature> curvatures;  // of each sub-layer, where asked for
  double mean_loss = 0;
};

struct MaskGradientOptions {
  LabelSource labels = LabelSource::kData;
  uint64_t seed = 0;            // of drawn labels
  int64_t batch_tokens = 2048;  // bounds the memory of the activations that the backward pass needs
  int64_t row_tokens = 0;       // tokens of a sample that make a row; 0: all, one row a sample
  bool curvature = false;       // gather the factors of the loss's curvature from the same pass
  std::optional<SegmentLimits> segments = std::nullopt;  // what suits device and network without it
};

// Calls visit(sub-layer, gradients) once for each sub-layer, from the last segment to the first;
// the gradients are the visitor's to keep.
using GradientVisitor = std::function<void(size_t, SubLayerGradients*)>;
void VisitMaskGradients(const Network& net, const Samples& samples,
                        const MaskGradientOptions& options, const Console& console,
                        const GradientVisitor& visit);

MaskGradients ComputeMaskGradients(const Network& net, const Samples& samples,
                                   const MaskGradientOptions& options, const Console& console);

}  // namespace coppice
