// What attention costs by its heads and feed-forward by its channels, in time: the table that a
// latency budget is searched with.
//
// Times are of whole models. With N layers in a probe and t(h, c) its time at h heads and c
// channels a layer, a sub-layer's own time is a difference,
//
//   attention(h)    = (t(h, c/2) - t(0, c/2)) / N,   feed-forward(c) = (t(h/2, c) - t(h/2, 0)) / N,
//
// made non-decreasing (the least squares fit that never falls), a line where what departs from one
// is within the noise of the measurement (a search would take every dent for a bargain), and scaled
// so that all sub-layers of the model and the time of the model without any unit add up to the time
// of the model. What stays without any unit (embeddings, norms, head, dispatch) is the fixed part.
// Between widths the curve is a line; below the narrowest it is flat, since a sub-layer costs
// something at all.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "latency/probe.h"
#include "latency/stopwatch.h"
#include "model/cost.h"

namespace coppice {

// What was measured.
struct ProbeTimes {
  ProbeWidths widths;
  std::vector<Timing> heads;     // of every width
  std::vector<Timing> channels;  // likewise
  Timing dense, empty;           // of the model itself, and without any unit
};

// Runs the probes and the model, all in turn.
ProbeTimes MeasureProbes(const Model& model, const Stopwatch& stopwatch);

// One sub-layer's time, milliseconds, at some widths; the first is 0 at no unit.
struct LatencyCurve {
  std::vector<int64_t> units;
  std::vector<double> ms;
};

struct LatencyTable {
  LatencyCurve attention, feed_forward;
  double fixed_ms = 0;
  double dense_ms = 0;
  double spread = 0;           // median over all runs of (90th - 10th percentile) / median
  nlohmann::ordered_json key;  // what it was measured on and of (latency/table_file.h)
};

// The non-decreasing sequence nearest to `values` in squares (pool adjacent violators).
std::vector<double> NonDecreasing(const std::vector<double>& values);

LatencyTable FitTable(const ModelSpec& spec, const ProbeTimes& times);

// Milliseconds at a width, by the curve.
double LatencyAt(const LatencyCurve& curve, int64_t units);

// Costs in nanoseconds, of the model that the table was measured of.
CostTable LatencyCosts(const ModelSpec& spec, const LatencyTable& table);

// The table after a measurement: all sub-layers' costs times `factor`. Of the whole model the
// measured time stays.
CostTable ScaleCosts(const CostTable& costs, double factor);

}  // namespace coppice
