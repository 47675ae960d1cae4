#include "tune/gauss_newton.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/cholesky.h"
#include "model/forward.h"
#include "model/linear.h"
#include "model/product.h"
#include "tune/align.h"

namespace coppice {
namespace {

constexpr double kRidge = 1e-2;  // of both factors, times their mean diagonals
constexpr int64_t kBiasColumns = 8;
constexpr size_t kSlopesEvery = 4;  // batches of which one is asked for the slopes' moments

// Of one batch's tokens at the sub-layer, in the metric of the norm. P = C, or 2 C where channels
// are gated; I = D, and where there is a bias eight columns more: its own, and zeros, with which
// rows begin where a GPU's kernels want to read.
struct Rows {
  at::Tensor read;      // (M, I) what the matrices read, compute dtype
  at::Tensor residual;  // (M, D) float32 R
  at::Tensor slopes;    // (M, P) compute dtype s
};

// The sub-layer as the steps see it.
struct Inner {
  const Network& net;
  const SubLayer& sub;
  at::Tensor gain;  // (D) float32 of the norm that follows, or undefined
  bool has_bias = false;

  // (M, 1) of the stream (M, D) that the sub-layer is to leave, float32. LibTorch's own deviation
  // takes a dozen times as long on the CPU.
  static at::Tensor WeightOf(const at::Tensor& stream) {
    const at::Tensor centred = stream - stream.mean(1, /*keepdim=*/true);
    return centred.square_().mean(1, /*keepdim=*/true).sqrt_().clamp_min_(1e-6).reciprocal_();
  }

  at::Tensor InMetric(const at::Tensor& y) const { return gain.defined() ? y * gain : y; }

  Rows RowsOf(const Streams& s) const {
    const at::Tensor hidden = s.student.Get(), target = s.target->Get();
    const at::Tensor read = ReadByBranch(net, sub, hidden).to(net.compute.dtype);
    const at::Tensor weight = WeightOf(hidden + target);
    const std::vector<at::Tensor> pre = PreActivations(sub, read);
    const std::vector<at::Tensor> slopes = ChannelSlopes(net, pre);
    Rows rows;
    rows.slopes = slopes.size() == 1 ? slopes[0] : at::cat(slopes, 1);
    rows.residual = InMetric((target - Project(sub, Channels(net, pre))) * weight);
    rows.read = (read * weight).to(net.compute.dtype);
    if (!has_bias) return rows;
    const at::Tensor one = weight.to(net.compute.dtype);
    rows.read = at::cat(
        {rows.read, one, at::zeros({1, kBiasColumns - 1}, one.options()).expand({one.size(0), -1})},
        1);
    return rows;
  }

  // (M, P) compute dtype A.
  at::Tensor Asked(const Rows& rows) const {
    const at::Tensor back =  // (M, C)
        Multiply(InMetric(rows.residual).to(net.compute.dtype), sub.out.weight, net.compute.dtype);
    return (rows.slopes.unflatten(1, {-1, sub.units}) * back.unsqueeze(1)).flatten(1);
  }
};

void AddTo(at::Tensor* sum, const at::Tensor& more) { *sum = sum->defined() ? *sum + more : more; }

// left'right of batches, float32. On a GPU in one product each, where ProductSum makes many: a
// direction with these ridges is worth no more.
struct BatchProducts {
  ProductSum exact;  // on the CPU
  at::Tensor sum;    // on a GPU

  void Add(const at::Tensor& left, const at::Tensor& right) {
    if (left.is_cpu()) return exact.Add(left, right);
    AddTo(&sum, Multiply(left.t(), right, at::kFloat));
  }

  at::Tensor Take() { return sum.defined() ? sum : exact.Take().to(at::kFloat); }
};

// Of x and A, over the fitted tokens.
struct AskedSum {
  BatchProducts gram, cross;  // (I, I), (I, P)

  void Add(const Inner& inner, const Rows& rows) {
    gram.Add(rows.read, rows.read);
    cross.Add(rows.read, inner.Asked(rows));
  }
};

// Of slopes, over a share of the fitted tokens.
struct SlopeSum {
  int64_t parts = 1, tokens = 0;
  at::Tensor sum;       // (P) float64
  at::Tensor products;  // (parts, P) float64 of s and the slopes `part` parts further

  void Add(const at::Tensor& slopes) {
    const at::Tensor s = slopes.to(at::kFloat);
    const int64_t channels = s.size(1) / parts;
    std::vector<at::Tensor> with;
    for (int64_t part = 0; part < parts; ++part)
      with.push_back((s * at::roll(s, -part * channels, 1)).sum(0));
    tokens += s.size(0);
    AddTo(&sum, s.sum(0).to(at::kDouble));
    AddTo(&products, at::stack(with).to(at::kDouble));
  }
};

// B (P, P) float32. weight: (C, D) float32 W.
at::Tensor OutputFactor(const SlopeSum& slopes, const at::Tensor& weight) {
  const auto count = static_cast<double>(slopes.tokens);
  const int64_t channels = weight.size(0);
  const at::Tensor mean = (slopes.sum / count).to(at::kFloat);
  at::Tensor factor =
      at::mm(weight, weight.t()).repeat({slopes.parts, slopes.parts}) * at::outer(mean, mean);
  const at::Tensor energy = weight.square().sum(1).repeat({slopes.parts});  // (P)
  for (int64_t part = 0; part < slopes.parts; ++part) {
    const int64_t shift = part * channels, rest = mean.size(0) - shift;
    const at::Tensor covariance =
        (slopes.products[part] / count).to(at::kFloat) - mean * at::roll(mean, -shift);
    const at::Tensor noise = energy * covariance;  // (P) in row i and column i + shift, modulo P
    factor.diagonal(shift).add_(noise.narrow(0, 0, rest));
    if (shift > 0) factor.diagonal(-rest).add_(noise.narrow(0, rest, shift));
  }
  return factor;
}

// A step of length 1: (I, P) float32; undefined where a factor has no root. A direction whose
// length is measured needs no more digits, and with these ridges loses few.
at::Tensor Solve(AskedSum* asked, const at::Tensor& factor) {
  double of_read = kRidge, of_factor = kRidge;
  const at::Tensor read_root = DampedFactor(asked->gram.Take(), &of_read);
  const at::Tensor root = DampedFactor(factor, &of_factor);
  if (!read_root.defined() || !root.defined()) return {};
  const at::Tensor by_read = SolveByFactor(read_root, asked->cross.Take());
  return SolveByFactor(root, by_read.t()).t();
}

// How far a step goes, and what it takes away, along the branch made linear.
struct Search {
  at::Tensor sums;  // (3) float64, on the device: of R o dy, dy o dy, R o R

  void Add(const Inner& inner, const Rows& rows, const at::Tensor& step) {
    const at::ScalarType dtype = rows.read.scalar_type();
    const at::Tensor change = Multiply(rows.read, step.to(dtype), dtype) * rows.slopes;
    const at::Tensor of_inputs = change.unflatten(1, {-1, inner.sub.units}).sum(1);  // (M, C)
    const at::Tensor dy = inner.InMetric(ApplyInFloat({inner.sub.out.weight, {}}, of_inputs));
    AddTo(&sums, at::stack({(rows.residual * dy).sum(at::kDouble), dy.square().sum(at::kDouble),
                            rows.residual.square().sum(at::kDouble)}));
  }
};

// The matrices `length` steps on. step: (I, P) float32.
std::map<std::string, at::Tensor> Moved(const Model& model, const SubLayerSpec& spec,
                                        const at::Tensor& step, double length) {
  std::map<std::string, at::Tensor> tensors;
  const int64_t width = model.spec.width;
  int64_t begin = 0;
  for (const std::string& name : Readers(spec)) {
    const at::Tensor change = length * step.narrow(1, begin, spec.units).to(at::kDouble);
    const auto add = [&](const std::string& of, const at::Tensor& by) {
      const at::Tensor old = model.tensors.at(of).to(by.device()).to(at::kDouble);
      tensors[of] = (old + by).to(at::kFloat).contiguous();
    };
    add(name + ".weight", change.slice(0, 0, width).t());
    if (step.size(0) > width) add(name + ".bias", change[width]);
    begin += spec.units;
  }
  return tensors;
}

}  // namespace

GaussNewtonStep MakeGaussNewtonStep(const Student& student, size_t index,
                                    const std::vector<Streams>& streams) {
  const Network& net = student.net();
  const SubLayerSpec& spec = student.spec(index);
  const Fetched sub = Fetch(net, index);
  const bool norm_follows = net.spec.form == BlockForm::kEncoder;
  const Inner inner{net, *sub, norm_follows ? sub->norm.weight : at::Tensor(),
                    ReadersHaveBias(student.model(), spec)};
  AskedSum asked;
  SlopeSum slopes;
  slopes.parts = sub->gated ? 2 : 1;
  size_t batches = 0;
  for (const Streams& s : streams) {
    if (s.held_out) continue;
    const Rows rows = inner.RowsOf(s);
    asked.Add(inner, rows);
    if (batches++ % kSlopesEvery == 0) slopes.Add(rows.slopes);
  }
  at::Tensor weight = student.OutputWeight(index).to(at::kFloat);  // (C, D)
  if (inner.gain.defined()) weight = weight * inner.gain;
  const at::Tensor step = Solve(&asked, OutputFactor(slopes, weight));
  if (!step.defined()) return {};
  const bool held_out =
      std::any_of(streams.begin(), streams.end(), [](const Streams& s) { return s.held_out; });
  Search search;
  for (const Streams& s : streams) {
    if (s.held_out == held_out) search.Add(inner, inner.RowsOf(s), step);
  }
  if (!search.sums.defined()) return {};
  const at::Tensor sums = search.sums.to(at::kCPU);
  const auto of = sums.accessor<double, 1>();
  const double along = of[0], square = of[1], left = of[2];
  if (!(along > 0 && square > 0)) return {};
  const double length = std::min(1.0, along / square);
  return {Moved(student.model(), spec, step, length),
          length * (2 * along - length * square) / left};
}

}  // namespace coppice
