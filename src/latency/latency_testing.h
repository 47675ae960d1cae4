// What tests of latencies share: a stopwatch that computes times instead of taking them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "latency/stopwatch.h"

namespace coppice {

// True times of sub-layers, milliseconds: a jump at the first unit, then a line.
inline double TrueMs(UnitKind kind, int64_t units) {
  if (units == 0) return 0;
  return kind == UnitKind::kHead ? 0.5 + 0.75 * static_cast<double>(units)
                                 : 0.2 + 0.05 * static_cast<double>(units);
}

// Adds them up, with `fixed` and, of models that are neither whole nor empty, a share that no table
// of sub-layers can know. `whole`: units of the largest model.
inline Stopwatch FakeStopwatch(double fixed, int64_t whole = 0, double unknown = 0,
                               int* calls = nullptr) {
  return [=](const std::vector<Model>& models) {
    if (calls != nullptr) ++*calls;
    std::vector<Timing> timings;
    for (const Model& model : models) {
      double ms = 0;
      int64_t units = 0;
      for (const SubLayerSpec& sub : model.spec.sub_layers) {
        ms += TrueMs(sub.kind, sub.units);
        units += sub.units;
      }
      if (units > 0 && units < whole) ms *= 1 + unknown;
      ms += fixed;
      timings.push_back({ms, ms * 0.99, ms * 1.02, 7});
    }
    return timings;
  };
}

}  // namespace coppice
