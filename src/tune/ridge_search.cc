#include "tune/ridge_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <vector>

#include "core/random.h"
#include "model/cholesky.h"

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

// The moments of X and R S.
Moments Combined(const Moments& m, const at::Tensor& signs) {
  Moments combined = m;
  if (!signs.defined()) return combined;
  combined.cross = at::mm(m.cross, signs);
  combined.residual_sum = at::mv(signs.t(), m.residual_sum);
  return combined;
}

void ToFloat(std::initializer_list<at::Tensor*> tensors) {
  for (at::Tensor* tensor : tensors) {
    if (tensor->defined()) *tensor = tensor->to(at::kFloat);
  }
}

// Fits to several residuals with one ridge after another, each factor made once.
struct Search {
  Moments held_out;
  std::vector<Centred> fits;  // the first has the Gram matrix of all
  double scale = 0;           // mean diagonal of that matrix
  std::vector<double> most;   // of each fit
  std::vector<double> best;   // its ridge

  // Whether any fit explains more than before; nothing where there is no factor.
  std::optional<bool> Try(double ridge) {
    at::Tensor damped = fits[0].gram.clone();
    damped.diagonal().add_(ridge * scale);
    const at::Tensor factor = CholeskyFactor(damped);
    if (!factor.defined()) return {};
    bool better = false;
    for (size_t k = 0; k < fits.size(); ++k) {
      const at::Tensor weight_change = SolveByFactor(factor, fits[k].cross);
      const double explained =
          ExplainedEnergy(held_out, weight_change, BiasChange(fits[k], weight_change));
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
  Search search;
  Moments& held_out = search.held_out;
  held_out = Combined(moments.held_out, signs);
  ToFloat({&held_out.gram, &held_out.cross, &held_out.input_sum, &held_out.residual_sum});
  search.fits.push_back(Centre(Combined(fitted, signs), fit_bias));
  if (moments.rival.tokens > 0)
    search.fits.push_back(Centre(Combined(moments.rival, signs), fit_bias));
  for (Centred& fit : search.fits)
    ToFloat({&fit.gram, &fit.cross, &fit.input_mean, &fit.residual_mean});
  search.scale = search.fits[0].gram.diagonal().mean().item<double>();
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
