// Calibration text that a language model draws from itself, so that no data is needed: windows that
// begin with a random token and go on by sampling from the model's own distribution, the first few
// tokens greedily so that a rare beginning finds into plausible text (Liu et al. 2023, LLM-QAT,
// section 3.1).
#pragma once

#include <cstdint>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"

namespace coppice {

// `count` windows of `length` tokens. Window i depends on the seed and i alone, but for rounding
// that depends on how many are drawn together.
Samples DrawSelfText(const Network& net, int64_t count, int64_t length, uint64_t seed,
                     const Console& console);

}  // namespace coppice
