// Second moments of the dense model's unit inputs, for scores that look at activations.
//
// The residual streams of all samples move through the network together, one sub-layer at a time,
// so that only one sub-layer's moments are in memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"

namespace coppice {

// Of the unit inputs X (M, I) of one sub-layer over all real tokens.
struct UnitStatistics {
  int64_t tokens = 0;  // M
  at::Tensor gram;     // (I, I) float64  X'X; undefined unless asked for
  at::Tensor squares;  // (I) float64     its diagonal
  at::Tensor sum;      // (I) float64
};

enum class StatisticsKind { kDiagonal, kFull };

// Calls visit(sub-layer, statistics) in order.
void VisitSubLayers(const Network& net, const Samples& samples, StatisticsKind kind,
                    const Console& console,
                    const std::function<void(size_t, const UnitStatistics&)>& visit);

}  // namespace coppice
