#include "score/activation_scores.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"
#include "model/cholesky.h"

namespace coppice {
namespace {

at::Tensor Exact(const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); }

at::Tensor MeanOverUnit(const at::Tensor& scores, int64_t width) {
  return scores.view({-1, width}).mean(1).contiguous();
}

// Q^-1 1 for a positive semidefinite Q; a tiny ridge, raised tenfold, where it has no factor.
at::Tensor SolveOnes(const at::Tensor& matrix) {
  const at::Tensor ones = at::ones({matrix.size(0), 1}, matrix.options());
  double ridge = 0;
  const at::Tensor factor = DampedFactor(matrix, &ridge);
  if (!factor.defined()) {
    ThrowBadInput({.what = "the inputs of a layer are no finite numbers",
                   .hint = "the weights may hold infinities; try --dtype float32"});
  }
  return SolveByFactor(factor, ones).squeeze(1);
}

}  // namespace

at::Tensor NumericalScores(const UnitStatistics& statistics, const at::Tensor& weight,
                           int64_t width, double removed, std::optional<double> lambda) {
  const at::Tensor gram = statistics.gram.to(at::kDouble);        // (I, I)
  const at::Tensor w = weight.to(gram.device()).to(at::kDouble);  // (I, D)
  at::Tensor q_matrix = at::mm(w, w.t()).mul_(gram);              // (I, I), maybe a gigabyte
  const at::Tensor alive = q_matrix.diagonal().gt(0).nonzero().squeeze(1);
  at::Tensor z = at::zeros({w.size(0)}, w.options());
  if (alive.size(0) > 0) {
    if (alive.size(0) < w.size(0))
      q_matrix = q_matrix.index_select(0, alive).index_select(1, alive);
    const at::Tensor q = SolveOnes(q_matrix);
    const double sum = q.sum().item<double>();
    const double target = removed * static_cast<double>(alive.size(0));
    const double step = lambda ? *lambda * target / (1 + *lambda * sum) : target / sum;
    z.index_copy_(0, alive, 1 - step * q);
  }
  return MeanOverUnit(z.to(at::kCPU), width);
}

at::Tensor FlapScores(const UnitStatistics& statistics, const at::Tensor& weight, int64_t width,
                      bool attention) {
  const auto count = static_cast<double>(std::max<int64_t>(2, statistics.tokens));
  const at::Tensor mean = Exact(statistics.sum) / count;
  const at::Tensor variance =
      ((Exact(statistics.squares) - count * mean.square()) / (count - 1)).clamp_min(0);
  at::Tensor score = variance * Exact(weight).square().sum(1);  // (I)
  if (attention) score = score.square();
  if (score.size(0) > 1) score = (score - score.mean()) / score.std().clamp_min(1e-300);
  return MeanOverUnit(score, width);
}

at::Tensor WandaScores(const UnitStatistics& statistics, const at::Tensor& weight, int64_t width) {
  const at::Tensor score = Exact(statistics.squares).sqrt() * Exact(weight).abs().mean(1);
  return score.view({-1, width}).sum(1).contiguous();
}

at::Tensor MagnitudeScores(const at::Tensor& weight, int64_t width) {
  return Exact(weight).square().sum(1).view({-1, width}).sum(1).sqrt().contiguous();
}

}  // namespace coppice
