#include "latency/table.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace coppice {
namespace {

constexpr double kNanoseconds = 1e6;  // in a millisecond

// Standard deviation of a median of normal times, from their 10th and 90th percentile.
double NoiseOf(const Timing& timing) {
  constexpr double kDeviations = 2.563, kOfMedian = 1.2533;
  return (timing.high - timing.low) / kDeviations * kOfMedian /
         std::sqrt(static_cast<double>(std::max<int64_t>(1, timing.repeats)));
}

// The line through the curve's widths above 0, where its departures from that are no more than
// `noise`, the root of the mean square of what the times are uncertain by. Otherwise, or where the
// line falls, as it is.
LatencyCurve WithoutNoise(const LatencyCurve& curve, double noise) {
  constexpr double kDeviations = 2;
  const size_t count = curve.units.size();
  if (count < 5) return curve;
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t k = 1; k < count; ++k) {
    const auto units = static_cast<double>(curve.units[k]);
    n += 1, x += units, y += curve.ms[k], xx += units * units, xy += units * curve.ms[k];
  }
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  const double start = (y - slope * x) / n;
  LatencyCurve line = curve;
  double departure = 0;
  for (size_t k = 1; k < count; ++k) {
    line.ms[k] = start + slope * static_cast<double>(curve.units[k]);
    departure += (line.ms[k] - curve.ms[k]) * (line.ms[k] - curve.ms[k]);
  }
  const bool fits = std::sqrt(departure / (n - 2)) <= kDeviations * noise;
  return fits && slope >= 0 && line.ms[1] >= 0 ? line : curve;
}

LatencyCurve FitCurve(const std::vector<int64_t>& units, const std::vector<Timing>& timings,
                      int64_t layers) {
  std::vector<double> ms;
  double square = 0;
  for (const Timing& timing : timings) {
    ms.push_back(timing.median);
    square += NoiseOf(timing) * NoiseOf(timing);
  }
  ms = NonDecreasing(ms);
  LatencyCurve curve{units, {}};
  for (const double one : ms) curve.ms.push_back((one - ms.front()) / static_cast<double>(layers));
  const double noise = std::sqrt(square / static_cast<double>(timings.size()));
  return WithoutNoise(curve, noise / static_cast<double>(layers));
}

double MedianSpread(const ProbeTimes& times) {
  std::vector<double> spreads;
  const auto add = [&](const Timing& t) { spreads.push_back(t.spread()); };
  std::for_each(times.heads.begin(), times.heads.end(), add);
  std::for_each(times.channels.begin(), times.channels.end(), add);
  add(times.dense);
  std::sort(spreads.begin(), spreads.end());
  return spreads[spreads.size() / 2];
}

const LatencyCurve& CurveOf(const LatencyTable& table, const SubLayerSpec& sub) {
  return sub.kind == UnitKind::kHead ? table.attention : table.feed_forward;
}

}  // namespace

ProbeTimes MeasureProbes(const Model& model, const Stopwatch& stopwatch) {
  ProbeTimes times;
  times.widths = ChooseProbeWidths(model.spec);
  const ProbeWidths& widths = times.widths;
  std::vector<Model> models = {model, MakeEmpty(model)};
  for (const int64_t heads : widths.heads)
    models.push_back(MakeProbe(model, widths.layers, heads, widths.half_channels));
  for (const int64_t channels : widths.channels)
    models.push_back(MakeProbe(model, widths.layers, widths.half_heads, channels));
  const std::vector<Timing> timings = stopwatch(models);
  Check(timings.size() == models.size(), "a stopwatch that missed a model");
  times.dense = timings[0];
  times.empty = timings[1];
  const auto heads = timings.begin() + 2;
  const auto channels = heads + static_cast<int64_t>(widths.heads.size());
  times.heads.assign(heads, channels);
  times.channels.assign(channels, timings.end());
  return times;
}

std::vector<double> NonDecreasing(const std::vector<double>& values) {
  struct Pool {
    double sum = 0;
    size_t count = 0;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (const double value : values) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  std::vector<double> result;
  for (const Pool& pool : pools) result.insert(result.end(), pool.count, pool.mean());
  return result;
}

LatencyTable FitTable(const ModelSpec& spec, const ProbeTimes& times) {
  LatencyTable table;
  table.attention = FitCurve(times.widths.heads, times.heads, times.widths.layers);
  table.feed_forward = FitCurve(times.widths.channels, times.channels, times.widths.layers);
  table.dense_ms = times.dense.median;
  table.fixed_ms = std::min(times.empty.median, table.dense_ms);
  table.spread = MedianSpread(times);
  double sum = 0;
  for (const SubLayerSpec& sub : spec.sub_layers) sum += LatencyAt(CurveOf(table, sub), sub.units);
  const double scale = sum > 0 ? (table.dense_ms - table.fixed_ms) / sum : 0;
  for (double& ms : table.attention.ms) ms *= scale;
  for (double& ms : table.feed_forward.ms) ms *= scale;
  return table;
}

double LatencyAt(const LatencyCurve& curve, int64_t units) {
  if (units <= 0 || curve.units.size() < 2) return 0;
  const auto right = std::lower_bound(curve.units.begin(), curve.units.end(), units);
  if (right == curve.units.end()) return curve.ms.back();
  const auto k = static_cast<size_t>(right - curve.units.begin());
  if (k <= 1) return curve.ms[1];
  const double share = static_cast<double>(units - curve.units[k - 1]) /
                       static_cast<double>(curve.units[k] - curve.units[k - 1]);
  return curve.ms[k - 1] + share * (curve.ms[k] - curve.ms[k - 1]);
}

CostTable LatencyCosts(const ModelSpec& spec, const LatencyTable& table) {
  CostTable costs;
  costs.fixed = std::llround(table.fixed_ms * kNanoseconds);
  costs.measured = std::llround(table.dense_ms * kNanoseconds);
  for (const SubLayerSpec& sub : spec.sub_layers) {
    std::vector<int64_t> curve;
    for (int64_t units = 0; units <= sub.units; ++units)
      curve.push_back(std::llround(LatencyAt(CurveOf(table, sub), units) * kNanoseconds));
    costs.curves.push_back(std::move(curve));
    costs.units.push_back(sub.units);
  }
  return costs;
}

CostTable ScaleCosts(const CostTable& costs, double factor) {
  CostTable scaled = costs;
  for (std::vector<int64_t>& curve : scaled.curves) {
    for (int64_t& cost : curve) cost = std::llround(static_cast<double>(cost) * factor);
  }
  return scaled;
}

}  // namespace coppice
