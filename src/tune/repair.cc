#include "tune/repair.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"
#include "model/cholesky.h"
#include "tune/ridge_search.h"

namespace coppice {
namespace {

// Solves (matrix + ridge * mean(diag) * Id) x = right, raising the ridge until the matrix is
// positive definite.
at::Tensor SolveDamped(const at::Tensor& matrix, const at::Tensor& right, double* ridge) {
  const at::Tensor factor = DampedFactor(matrix, ridge);
  if (factor.defined()) return SolveByFactor(factor, right);
  *ridge = INFINITY;  // nothing sensible: no change
  return at::zeros_like(right);
}

RepairResult Finish(const Moments& m, const Centred& c, const at::Tensor& weight_change,
                    double ridge) {
  RepairResult result;
  result.weight_change = weight_change;
  result.bias_change = BiasChange(c, weight_change);
  result.explained = Explained(m, result);
  result.damping = ridge;
  return result;
}

// What SolveLeastSquares() explains needs no product with A, since A dW = C - g dW: of the means
// |mean R|^2 a token, of the rest 2 tr(dW'C) - tr(dW'A dW) = tr(dW'C) + g |dW|^2.
double ExplainedByRidge(const Moments& m, const Centred& c, const at::Tensor& weight_change,
                        double ridge) {
  if (!(m.residual_energy > 0)) return 0;
  const double damp =
      std::isfinite(ridge) ? ridge * c.gram.diagonal().mean().item<double>() : 0;  // or no change
  const at::Tensor gain = (weight_change * (c.cross + damp * weight_change)).sum() +
                          static_cast<double>(m.tokens) * c.residual_mean.square().sum();
  return gain.item<double>() / m.residual_energy;
}

RepairResult SolveCentred(const Moments& m, const Centred& c, double ridge) {
  RepairResult result;
  result.weight_change = SolveDamped(c.gram, c.cross, &ridge);
  result.bias_change = BiasChange(c, result.weight_change);
  result.explained = ExplainedByRidge(m, c, result.weight_change, ridge);
  result.damping = ridge;
  return result;
}

RepairResult SolveWithoutInputs(const Moments& moments, bool fit_bias) {
  if (fit_bias) return SolveBias(moments);
  return {at::zeros_like(moments.cross), at::zeros_like(moments.residual_sum), 0, 0};
}

}  // namespace

double Explained(const Moments& m, const RepairResult& repair) {
  if (!(m.residual_energy > 0)) return 0;
  return ExplainedEnergy(m, repair.weight_change, repair.bias_change) / m.residual_energy;
}

RepairResult SolveBias(const Moments& moments) {
  const Centred centred = Centre(moments, /*fit_bias=*/true);
  return Finish(moments, centred, at::zeros_like(moments.cross), 0);
}

RepairResult SolveLeastSquares(const Moments& moments, double ridge, bool fit_bias) {
  if (moments.gram.size(0) == 0) return SolveWithoutInputs(moments, fit_bias);
  return SolveCentred(moments, Centre(moments, fit_bias), ridge);
}

RepairResult SolveByHeldOut(const SplitMoments& moments, double ridge, bool fit_bias) {
  const Moments& fitted = moments.fitted;
  RepairResult result;
  if (fitted.gram.size(0) == 0) {
    result = SolveWithoutInputs(fitted, fit_bias);
  } else {
    const RidgeChoice choice = ChooseRidge(moments, ridge, fit_bias);
    Moments target = choice.rival ? moments.rival : fitted;
    target.gram = fitted.gram;
    result = SolveCentred(target, Centre(target, fit_bias), choice.ridge);
    result.rival = choice.rival;
    if (choice.rival) result.explained = Explained(fitted, result);
  }
  result.held_out = Explained(moments.held_out, result);
  if (result.held_out > 0) return result;
  return {at::zeros_like(fitted.cross), at::zeros_like(fitted.residual_sum), 0, INFINITY, 0, false};
}

RepairResult SolveScales(const Moments& moments, const at::Tensor& weight, int64_t width,
                         double ridge, bool fit_bias) {
  if (moments.gram.size(0) == 0) return SolveWithoutInputs(moments, fit_bias);
  const Centred centred = Centre(moments, fit_bias);
  const int64_t units = moments.gram.size(0) / width;
  const at::Tensor w = weight.to(moments.gram.device(), at::kDouble);  // (I, D)
  const at::Tensor normal =
      (at::mm(w, w.t()) * centred.gram).view({units, width, units, width}).sum({1, 3});
  const at::Tensor right = (w * centred.cross).sum(1).view({units, width}).sum(1, /*keepdim=*/true);
  const at::Tensor change =
      SolveDamped(normal, right, &ridge).repeat_interleave(width, 0);  // (I, 1)
  return Finish(moments, centred, w * change, ridge);
}

Repair ParseRepair(const std::string& name) {
  for (const Repair repair :
       {Repair::kNone, Repair::kBias, Repair::kScales, Repair::kLeastSquares}) {
    if (RepairName(repair) == name) return repair;
  }
  ThrowUsage({.what = "unknown repair",
              .where = "--repair",
              .expected = "none, bias, scales or least-squares",
              .found = name});
}

std::string RepairName(Repair repair) {
  switch (repair) {
    case Repair::kNone:
      return "none";
    case Repair::kBias:
      return "bias";
    case Repair::kScales:
      return "scales";
    case Repair::kLeastSquares:
      return "least-squares";
  }
  Check(false, "unknown repair");
  return {};
}

}  // namespace coppice
