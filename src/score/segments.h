// Stretches of the network that a backward pass goes through at one time (score/mask_gradients.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/network.h"

namespace coppice {

// Sub-layers [begin, end).
struct Segment {
  size_t begin = 0, end = 0;
};

// Bytes that one segment may take, though a segment has one sub-layer at least.
struct SegmentLimits {
  int64_t activations = 0;  // of one batch, and matrices that are fetched
  int64_t statistics = 0;   // of its sub-layers
};

// What suits device and network.
SegmentLimits UsualLimits(const Network& net);

// As few as the limits allow, for batches of `tokens` tokens at most. curvature: whether its
// factors are gathered, the statistics that take room.
std::vector<Segment> MakeSegments(const Network& net, int64_t tokens, const SegmentLimits& limits,
                                  bool curvature);

// The sub-layers of a segment while it is run.
std::vector<Fetched> FetchAll(const Network& net, const Segment& segment);

}  // namespace coppice
