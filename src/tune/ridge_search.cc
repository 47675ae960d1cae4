#include "tune/ridge_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "core/random.h"

namespace coppice {
namespace {

// (D, k) random signs / sqrt(k): the mean of |v S|^2 is |v|^2, so that what a change explains of
// R S is about what it explains of R, at a fraction of the work where outputs are many. Undefined
// where they are few.
at::Tensor Signs(int64_t outputs, const at::TensorOptions& options) {
  constexpr int64_t kColumns = 64;
  if (outputs < 4 * kColumns) return {};
  Random random(0);
  std::vector<float> signs(static_cast<size_t>(outputs * kColumns));
  for (float& sign : signs) sign = random.Below(2) == 0 ? -1.0F : 1.0F;
  return at::tensor(signs, at::kFloat).view({outputs, kColumns}).to(options) /
         std::sqrt(static_cast<double>(kColumns));
}

// What a fit reads of moments, in float32, its outputs combined.
struct Problem {
  at::Tensor gram;          // (I, I), of a fit centred
  at::Tensor cross;         // (I, k), of a fit centred
  at::Tensor input_sum;     // (I)
  at::Tensor residual_sum;  // (k)
  double tokens = 0;
};

Problem MakeProblem(const Moments& m, const at::Tensor& gram, const at::Tensor& signs,
                    bool centred) {
  Problem problem;
  problem.tokens = static_cast<double>(m.tokens);
  at::Tensor cross = signs.defined() ? at::mm(m.cross, signs) : m.cross;
  const at::Tensor sum = signs.defined() ? at::mv(signs.t(), m.residual_sum) : m.residual_sum;
  if (centred) cross = cross.addr(m.input_sum, sum / problem.tokens, 1, -1);
  problem.gram = gram.to(at::kFloat);
  problem.cross = cross.to(at::kFloat);
  problem.input_sum = m.input_sum.to(at::kFloat);
  problem.residual_sum = sum.to(at::kFloat);
  return problem;
}

// What a change explains of the residual's energy, in units of that energy.
double Explains(const Problem& of, const at::Tensor& weight_change, const at::Tensor& bias_change) {
  const at::Tensor shift = at::mv(weight_change.t(), of.input_sum);  // (k)
  const at::Tensor cross = (weight_change * of.cross).sum(at::kDouble) +
                           (bias_change * of.residual_sum).sum(at::kDouble);
  const at::Tensor square = (at::mm(of.gram, weight_change) * weight_change).sum(at::kDouble) +
                            2 * (shift * bias_change).sum(at::kDouble) +
                            of.tokens * bias_change.square().sum(at::kDouble);
  return (2 * cross - square).item<double>();
}

// Fits to several residuals with one ridge after another, each factor made once.
struct Search {
  Problem held_out;
  std::vector<Problem> fits;  // of one Gram matrix, centred where the bias is fitted
  bool fit_bias = true;
  double scale = 0;          // mean diagonal of that matrix
  std::vector<double> most;  // of each fit
  std::vector<double> best;  // its ridge

  // Whether any fit explains more than before; nothing where there is no factor.
  std::optional<bool> Try(double ridge) {
    at::Tensor damped = fits[0].gram.clone();
    damped.diagonal().add_(ridge * scale);
    const auto [factor, failed] = at::linalg_cholesky_ex(damped);
    if (failed.item<int64_t>() != 0) return {};
    bool better = false;
    for (size_t k = 0; k < fits.size(); ++k) {
      const Problem& fit = fits[k];
      const at::Tensor weight_change = at::cholesky_solve(fit.cross, factor);
      const at::Tensor bias_change =
          fit_bias ? (fit.residual_sum - at::mv(weight_change.t(), fit.input_sum)) / fit.tokens
                   : at::zeros_like(fit.residual_sum);
      const double explained = Explains(held_out, weight_change, bias_change);
      if (!(explained > most[k])) continue;
      most[k] = explained;
      best[k] = ridge;
      better = true;
    }
    return better;
  }
};

}  // namespace

RidgeChoice ChooseRidge(const SplitMoments& moments, double ridge, bool fit_bias) {
  constexpr double kStep = 3.1622776601683795, kLeast = 1e-4, kMost = 1e2;
  const Moments& fitted = moments.fitted;
  const at::Tensor signs = Signs(fitted.cross.size(1), fitted.cross.options());
  at::Tensor gram = fitted.gram;
  if (fit_bias) {
    const at::Tensor mean = fitted.input_sum / static_cast<double>(fitted.tokens);
    gram = gram.addr(fitted.input_sum, mean, 1, -1);
  }
  gram = gram.to(at::kFloat);  // one for all fits
  Search search;
  search.fit_bias = fit_bias;
  search.scale = gram.diagonal().mean().item<double>();
  search.held_out = MakeProblem(moments.held_out, moments.held_out.gram, signs, false);
  search.fits.push_back(MakeProblem(fitted, gram, signs, fit_bias));
  if (moments.rival) search.fits.push_back(MakeProblem(*moments.rival, gram, signs, fit_bias));
  search.most.assign(search.fits.size(), -INFINITY);
  search.best.assign(search.fits.size(), ridge);
  for (double up = ridge; up <= kMost; up *= kStep) {
    const std::optional<bool> better = search.Try(up);
    if (better && !*better) break;
  }
  const bool helped = std::none_of(search.best.begin(), search.best.end(),
                                   [&](double best) { return best <= ridge; });
  for (double down = ridge / kStep; !helped && down >= kLeast; down /= kStep) {
    if (!search.Try(down).value_or(false)) break;
  }
  RidgeChoice choice{search.best[0], false};
  for (size_t k = 1; k < search.fits.size(); ++k) {
    if (search.most[k] > search.most[0]) choice = {search.best[k], true};
  }
  return choice;
}

}  // namespace coppice
