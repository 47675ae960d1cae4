#include "score/segments.h"

#include <ATen/ATen.h>

#include "model/forward.h"

namespace coppice {
namespace {

// What the backward pass needs of one token in a sub-layer, about: the residual stream a few times,
// the projections' outputs and what is made of them. Where kernels of our own make it again, each
// output once and the stream: an encoder's addends of it, a decoder's sums; and turned queries and
// keys.
int64_t BytesPerToken(const Network& net, const SubLayer& sub) {
  const auto element = static_cast<int64_t>(c10::elementSize(net.compute.dtype));
  int64_t read = 0;
  for (const Linear& linear : sub.in) read += linear.weight.size(0);
  if (IsFused(net, sub)) {
    const bool decoder = net.spec.form == BlockForm::kDecoder;
    const int64_t turned =
        decoder && sub.kind == UnitKind::kHead ? sub.units * (sub.queries + 1) * sub.key_width : 0;
    return (decoder ? 4 : 8) * net.spec.width + element * (read + turned + sub.units * sub.width);
  }
  return 12 * net.spec.width + 3 * element * (read + sub.units * sub.width);
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
