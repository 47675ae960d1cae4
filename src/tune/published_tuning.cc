#include "tune/published_tuning.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "tune/lsmr.h"

namespace coppice {

PublishedScales SolvePublishedScales(const Moments& moments, const at::Tensor& weight,
                                     UnitKind kind, int64_t width) {
  constexpr double kLargestScale = 10;
  PublishedScales result;
  const int64_t units = moments.gram.size(0) / width;
  const bool intercept = kind == UnitKind::kHead;
  if (units == 0) {
    result.reason = "no unit is left";
    return result;
  }
  if (units == 1 && !intercept) {
    result.reason = "one unit is left, where the published solver fails";
    return result;
  }
  const at::Tensor w = weight.to(at::kCPU, at::kDouble);  // (I, D)
  const at::Tensor gram = moments.gram.to(at::kCPU);
  at::Tensor normal = (at::mm(w, w.t()) * gram).view({units, width, units, width}).sum({1, 3});
  at::Tensor right = (w * moments.cross.to(at::kCPU)).sum(1).view({units, width}).sum(1);
  if (intercept) {
    const double outputs = static_cast<double>(moments.tokens * w.size(1));
    const at::Tensor edge = (w.sum(1) * moments.input_sum.to(at::kCPU)).view({units, width}).sum(1);
    normal = at::cat({at::cat({normal, edge.unsqueeze(1)}, 1),
                      at::cat({edge, at::full({1}, outputs, edge.options())}).unsqueeze(0)});
    // The intercept's start value is 1 like every scale's, so its column is part of the present
    // output.
    right = at::cat({right - edge, moments.residual_sum.to(at::kCPU).sum().unsqueeze(0) - outputs});
  }
  const LsmrResult solved = SolveLsmr(normal, right, {.damp = 1});
  result.scales = solved.x.slice(0, 0, units) + 1;
  if (solved.stop >= 3) {
    result.reason = fmt::format("the solver stopped with code {}", solved.stop);
    return result;
  }
  const double low = result.scales.min().item<double>();
  const double high = result.scales.max().item<double>();
  if (low < -kLargestScale || high > kLargestScale) {
    result.reason = fmt::format("scales from {:.3g} to {:.3g} exceed {}", low, high, kLargestScale);
    return result;
  }
  result.accepted = true;
  return result;
}

}  // namespace coppice
