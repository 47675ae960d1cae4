// What every width of a sub-layer would cost in loss, and which units each would keep: the
// compensated objective (optimal brain surgeon: Hassibi and Stork 1993, as OSSCAR: Meng et al. 2024
// sweep it) in the metric of the loss.
//
// With A = X'X (damped) and W (I, D) the output projection, removing units P and refitting the rest
// costs
//
//     L(P) = 1/2 tr( G W_P' ([A^-1]_PP)^-1 W_P ) / positions        nats
//
// With G = L L' that is the plain objective of W L. One greedy sweep to the end gives all widths:
// it removes the cheapest block, updates A^-1 and W as if the rest had been refitted, and goes on;
// the costs add up. The refit itself does not depend on G, so G decides which units leave and
// nothing else. Masks chosen this way assume that a refit follows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <vector>

#include "score/obs_sweep.h"

namespace coppice {

// One sub-layer's trade: level k keeps counts[k] units and costs losses[k].
struct ObsCurve {
  std::vector<int64_t> counts;  // ascending, from 0 to all units
  std::vector<double> losses;   // nats, never rising; 0 with all units
  std::vector<int64_t> order;   // all units, the first to leave first
  // Where units are few, the best set for each number kept (not always what a sweep would leave);
  // otherwise empty.
  std::vector<std::vector<int64_t>> sets;
};

// What is swept.
struct SweepOf {
  const Curvature* curvature;
  at::Tensor weight;  // (I, D) the output projection
};

// What a sweep gives.
struct Swept {
  ObsCurve curve;
  // By units kept: (k, D) float64 the projection refitted to the inputs of KeptUnits(), on the
  // moments' device.
  std::map<int64_t, at::Tensor> refits;
};

// Of sub-layers of one shape, in one sweep; width: the inputs a unit owns. It runs in float64 on
// the moments' device; the curves are on the CPU. refitted: the widths whose projections are
// wanted; those that the sweep does not come by are left out.
std::vector<Swept> MakeObsCurves(const std::vector<SweepOf>& of, int64_t width,
                                 const ObsOptions& options,
                                 const std::vector<int64_t>& refitted = {});

// Of one alone.
ObsCurve MakeObsCurve(const Curvature& curvature, const at::Tensor& weight, int64_t width,
                      const ObsOptions& options);

// Raises losses, of ascending widths, to those behind them: a wider sub-layer never loses more.
void NeverRise(std::vector<double>* losses);

// The units to keep when `count` of them stay, ascending.
std::vector<int64_t> KeptUnits(const ObsCurve& curve, int64_t count);

// Loss at any number of units: between levels on a straight line.
double LossAt(const ObsCurve& curve, int64_t count);

}  // namespace coppice
