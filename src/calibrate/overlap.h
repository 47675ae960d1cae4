// Whether examples that a model is judged by were seen in calibration.
#pragma once

#include "calibrate/samples.h"

namespace coppice {

// Share of `judged` that has a stretch of 32 tokens in common with `seen`, or, where shorter, is
// one of its samples.
double SeenShare(const Samples& seen, const Samples& judged);

}  // namespace coppice
