// The widths whose loss is measured, where obs_curve.h only estimates: each of them refitted, run
// through the network, and the curves scaled to what was found.
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "model/network.h"
#include "pipeline/obs_scores.h"
#include "pipeline/prune.h"
#include "score/replacement.h"

namespace coppice {

// Of each sub-layer; nothing of those that are not measured.
struct MeasuredLevels {
  std::vector<std::vector<int64_t>> counts;           // units that stay
  std::vector<std::vector<Replacement>> refits;       // at those counts; in the first sub-layer
                                                      // one more, unchanged: what is measured of
                                                      // nothing
  std::vector<std::vector<Replacement>> narrow_keys;  // heads of narrower queries and keys
};

// Times the mean diagonal of a Gram matrix, in sweeps and refits.
double ObsDamping(const ModelSpec& spec, const PruneOptions& options);

// Of a sub-layer's units: none, and the shares that are measured, of channels in whole blocks of
// the sweep.
std::vector<int64_t> MeasuredCounts(const ModelSpec& spec, const PruneOptions& options,
                                    const SubLayerSpec& sub);

// What levels are measured on: 128 samples spread over all, of a language model four stretches of
// 256 tokens. Each costs half a forward pass a level.
Samples MeasuredSamples(const Samples& samples, const ModelSpec& spec);

// Scales the curve to what the counts were measured to lose, nats: the geometric mean of their
// ratios, those within the floor of noise left out. The whole drop is taken as measured. Gives the
// scale.
double ScaleCurve(const std::vector<int64_t>& counts, const std::vector<double>& measured,
                  double floor, ObsCurve* curve);

// Measures all levels and scales the scores to them.
void MeasureLevels(const Network& dense, const Samples& held_out, const MeasuredLevels& levels,
                   const Console& console, ObsScores* scores);

}  // namespace coppice
