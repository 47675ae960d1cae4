#include "score/segments.h"

#include <ATen/ATen.h>

#include "model/forward.h"

namespace coppice {
namespace {

// What the backward pass needs of one token in a sub-layer, about: the residual stream a few times,
// where one step makes sum and norm its addends in an encoder, itself in a decoder; the
// projections' outputs and what is made of them, where a GPU's kernels make it again each output
// once, and turned queries and keys.
int64_t BytesPerToken(const Network& net, const SubLayer& sub) {
  const auto element = static_cast<int64_t>(c10::elementSize(net.compute.dtype));
  const bool decoder = net.spec.form == BlockForm::kDecoder, fused = IsFused(net, sub);
  const bool kept_once = fused && net.compute.device.is_cuda();
  int64_t numbers = sub.units * sub.width;
  for (const Linear& linear : sub.in) numbers += linear.weight.size(0);
  const int64_t turned = kept_once && decoder && sub.kind == UnitKind::kHead
                             ? sub.units * (sub.queries + 1) * sub.key_width
                             : 0;
  const int64_t of_stream = !fused ? 12 : decoder ? 4 : 8;
  return of_stream * net.spec.width + element * ((kept_once ? 1 : 3) * numbers + turned);
}

// Of matrices that are fetched for the segment.
int64_t MatrixBytes(const Network& net, const SubLayer& sub) {
  if (!net.streamed) return 0;
  int64_t numbers = sub.out.weight.numel();
  for (const Linear& linear : sub.in) numbers += linear.weight.numel();
  return numbers * static_cast<int64_t>(c10::elementSize(net.compute.dtype));
}

// Float32 and float64 sums of both factors.
int64_t CurvatureBytes(const Network& net, const SubLayer& sub) {
  const int64_t inputs = sub.units * sub.width;
  return 12 * (inputs * inputs + net.spec.width * net.spec.width);
}

}  // namespace

SegmentLimits UsualLimits(const Network& net) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  const bool gpu = net.compute.device.is_cuda();
  if (net.streamed) return {gpu ? 8 * kGiB : 3 * kGiB / 2, gpu ? 4 * kGiB : 2 * kGiB};
  return {gpu ? 10 * kGiB : 3 * kGiB / 2, gpu ? 16 * kGiB : net.compute.memory};
}

std::vector<Segment> MakeSegments(const Network& net, int64_t tokens, const SegmentLimits& limits,
                                  bool curvature) {
  std::vector<Segment> segments = {{0, 0}};
  int64_t activations = 0, statistics = 0;
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const SubLayer& sub = net.sub_layers[i];
    const int64_t more_activations = tokens * BytesPerToken(net, sub) + MatrixBytes(net, sub);
    const int64_t more_statistics = curvature ? CurvatureBytes(net, sub) : 0;
    const bool full = more_activations > limits.activations - activations ||
                      more_statistics > limits.statistics - statistics;
    if (full && segments.back().end > segments.back().begin) {
      segments.push_back({i, i});
      activations = statistics = 0;
    }
    activations += more_activations;
    statistics += more_statistics;
    segments.back().end = i + 1;
  }
  return segments;
}

std::vector<Fetched> FetchAll(const Network& net, const Segment& segment) {
  std::vector<Fetched> fetched;
  for (size_t i = segment.begin; i < segment.end; ++i) fetched.push_back(Fetch(net, i));
  return fetched;
}

}  // namespace coppice
