// One step of a sweep that removes inputs of an output projection in the metric of the loss:
// obs_curve.h has the objective.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "score/curvature.h"

namespace coppice {

struct ObsOptions {
  double damping = 1e-2;      // added to A, times its mean diagonal
  double own_damping = 1e-4;  // added to A, times each input's own energy: inputs far above the
                              // mean may be copies of each other, up to float32; raised tenfold
                              // while the sweep meets numbers that are not finite
  int64_t block = 16;         // channels that leave together
  int64_t enumerate = 6;      // up to this many units, all sets are tried
  bool fit_bias = true;       // means are left to a bias: the output projection has one
};

// Sums over tokens of the inputs of a projection, and of the gradients at its output.
struct SweepMoments {
  at::Tensor gram;    // (I, I) float64, centred where a bias takes the means
  at::Tensor metric;  // (D, D) float64 L of G = L L'
};

SweepMoments SweepMomentsOf(const Curvature& curvature, const ObsOptions& options);

// What sweeps of S sub-layers of one shape work on at once, which spares a GPU most of the
// launches; rows and columns of removed units go away from time to time, of all as many.
struct ObsState {
  at::Tensor inverse;  // (S, I, I) float64 A^-1
  at::Tensor weight;   // (S, I, D) float64 W L
  at::Tensor units;    // (S, I / width) int64 which units are left; for the caller's use
  at::Tensor energy;   // (S, I, 1) float64: X has been divided by it, W multiplied
  at::Tensor metric;   // (S, D, D) float64 L
};

// Of one sub-layer. weight: (I, D) the output projection. The moments' Gram matrix is used up.
ObsState StartSweep(const SweepMoments& moments, const at::Tensor& weight,
                    const ObsOptions& options);

// Several as one.
ObsState Together(const std::vector<ObsState>& states);

// What the removal of inputs costs. LAPACK's factor of a block that rounding has made indefinite is
// finite and wrong: such costs are no numbers.
struct Removal {
  at::Tensor cost;           // (S) float64
  at::Tensor failed;         // (S) int32, 0 where the block has a factor
  at::Tensor Costs() const;  // (S), NaN where it has none
};

// Removes inputs and refits the rest. inputs: (S, b) int64.
Removal RemoveInputs(const at::Tensor& inputs, ObsState* state);

// The inputs of units of `width` inputs each, in the units' order: (units * width) int64.
at::Tensor InputsOf(const std::vector<int64_t>& units, int64_t width, at::Device device);

// x: (S, n, m) -> (S, b, m), of each matrix the rows (S, b) int64.
at::Tensor RowsOfEach(const at::Tensor& x, const at::Tensor& rows);

// What the projection would be if the inputs (S, b) alone were left, all others being removed
// already: (S, b, D), refitted, in the units of the file.
at::Tensor RefittedWeights(const ObsState& state, const at::Tensor& inputs);

// Leaves nothing but the inputs (S, b), int64.
void KeepInputs(const at::Tensor& inputs, ObsState* state);

}  // namespace coppice
