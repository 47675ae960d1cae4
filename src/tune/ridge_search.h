// Which ridge, and which of several residuals to fit to, explain most on held-out samples: compared
// at a fraction of the work of the fits themselves, in float32 and, of many outputs, on 64 random
// combinations of them.
#pragma once

#include <cstddef>

#include "tune/moments.h"

namespace coppice {

struct RidgeChoice {
  double ridge = 0;    // times the mean diagonal of the centred Gram matrix
  bool rival = false;  // fitted to the rival residual
};

// Of fits to moments.fitted and, where there is one, moments.rival, the one that explains most of
// moments.held_out: from `ridge` in steps of about three upward while that helps either, then
// downward for what has not been helped. fit_bias: of centred moments.
RidgeChoice ChooseRidge(const SplitMoments& moments, double ridge, bool fit_bias);

}  // namespace coppice
