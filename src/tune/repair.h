// Closed-form repairs of one output projection, solved from moments.
//
// The kept units' projection is W (I, D) with bias b. The residual R is what the sub-layer should
// add to its present output X W + b. All solves are in float64 with a ridge toward "no change": a
// hopeless fit leaves the weights as they were. The means are fitted exactly and go into the bias;
// without fit_bias, for a projection that has none, the fit goes through the origin.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "tune/moments.h"

namespace coppice {

enum class Repair { kNone, kBias, kScales, kLeastSquares };

// What to add to the projection.
struct RepairResult {
  at::Tensor weight_change;  // (I, D) float64
  at::Tensor bias_change;    // (D) float64
  double explained =
      0;  // share of the residual's energy that the repair explains on the calibration data
  double damping = 0;   // ridge that was used, as a multiple of the mean diagonal
  double held_out = 0;  // share explained on the held-out samples that chose the ridge
  bool rival = false;   // fitted to the rival residual; what is explained is of the other
};

// All I * D weights: dW = (A + g mean(diag A) Id)^-1 C with centred moments A = X'X, C = X'R. The
// ridge g is multiplied by 10 until the factorisation succeeds.
RepairResult SolveLeastSquares(const Moments& moments, double ridge, bool fit_bias = true);

// The same with the ridge that explains most of moments.held_out, from `ridge` in steps of about
// three, and, where there is a rival residual whose fit explains more of it, fitted to that. No
// change where nothing explains anything there.
RepairResult SolveByHeldOut(const SplitMoments& moments, double ridge, bool fit_bias);

// Share of the residual's energy that a repair takes away on these moments; below 0 if it adds.
double Explained(const Moments& moments, const RepairResult& repair);

// One scale s = 1 + x a unit (Kwon et al. 2022, section 4.4, with a ridge toward 1): normal matrix
// (W W') o A summed over each unit's `width` rows.
RepairResult SolveScales(const Moments& moments, const at::Tensor& weight, int64_t width,
                         double ridge, bool fit_bias = true);

// The mean of the residual alone (An et al. 2024).
RepairResult SolveBias(const Moments& moments);

Repair ParseRepair(const std::string& name);  // throws Error (kUsage)
std::string RepairName(Repair repair);

}  // namespace coppice
