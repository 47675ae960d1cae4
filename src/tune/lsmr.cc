#include "tune/lsmr.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace coppice {
namespace {

struct Rotation {
  double c, s, r;
};

// Givens rotation with (c, s) (a, b)' = (r, 0)'.
Rotation Rotate(double a, double b) {
  if (b == 0) return {a < 0 ? -1.0 : 1.0, 0, std::abs(a)};
  if (a == 0) return {0, b < 0 ? -1.0 : 1.0, std::abs(b)};
  const double r = std::hypot(a, b);
  return {a / r, b / r, r};
}

double Normalize(at::Tensor* v) {
  const double norm = v->norm().item<double>();
  if (norm > 0) v->div_(norm);
  return norm;
}

// Estimates of ||r||, ||A||, cond(A) for the damped system, updated each iteration (section 5 of
// the paper).
struct Estimates {
  double betadd, betad = 0, rhodold = 1, tautildeold = 0, thetatilde = 0, zeta = 0, d = 0;
  double norm_a2, maxrbar = 0, minrbar = 1e100;
  double norm_r = 0, norm_a = 0, cond_a = 1;
};

}  // namespace

LsmrResult SolveLsmr(const at::Tensor& matrix, const at::Tensor& right,
                     const LsmrOptions& options) {
  const int64_t n = matrix.size(1);
  const int64_t limit =
      options.max_iterations > 0 ? options.max_iterations : 5 * std::min(matrix.size(0), n);
  LsmrResult result;
  result.x = at::zeros({n}, matrix.options());
  at::Tensor u = right.clone();
  double beta = Normalize(&u);
  const double norm_b = beta;
  at::Tensor v = beta > 0 ? at::mv(matrix.t(), u) : at::zeros({n}, matrix.options());
  double alpha = Normalize(&v);
  if (alpha * beta == 0) return result;

  double zetabar = alpha * beta, alphabar = alpha, rho = 1, rhobar = 1, cbar = 1, sbar = 0;
  at::Tensor h = v.clone();
  at::Tensor hbar = at::zeros({n}, matrix.options());
  Estimates e{.betadd = beta, .norm_a2 = alpha * alpha};
  const double ctol = options.conlim > 0 ? 1 / options.conlim : 0;
  while (result.iterations < limit) {
    ++result.iterations;
    // Golub-Kahan bidiagonalisation.
    u = at::mv(matrix, v) - alpha * u;
    beta = Normalize(&u);
    if (beta > 0) {
      v = at::mv(matrix.t(), u) - beta * v;
      alpha = Normalize(&v);
    }
    // Rotations for the damping, then two QR factorisations.
    const Rotation damped = Rotate(alphabar, options.damp);
    const double rhoold = rho;
    const Rotation first = Rotate(damped.r, beta);
    rho = first.r;
    const double thetanew = first.s * alpha;
    alphabar = first.c * alpha;
    const double rhobarold = rhobar;
    const double zetaold = e.zeta;
    const double thetabar = sbar * rho;
    const double rhotemp = cbar * rho;
    const Rotation second = Rotate(rhotemp, thetanew);
    cbar = second.c;
    sbar = second.s;
    rhobar = second.r;
    e.zeta = cbar * zetabar;
    zetabar = -sbar * zetabar;
    // The solution.
    hbar = h - (thetabar * rho / (rhoold * rhobarold)) * hbar;
    result.x.add_(hbar, e.zeta / (rho * rhobar));
    h = v - (thetanew / rho) * h;
    // ||r||.
    const double betaacute = damped.c * e.betadd;
    const double betacheck = -damped.s * e.betadd;
    const double betahat = first.c * betaacute;
    e.betadd = -first.s * betaacute;
    const double thetatildeold = e.thetatilde;
    const Rotation tilde = Rotate(e.rhodold, thetabar);
    e.thetatilde = tilde.s * rhobar;
    e.rhodold = tilde.c * rhobar;
    e.betad = -tilde.s * e.betad + tilde.c * betahat;
    e.tautildeold = (zetaold - thetatildeold * e.tautildeold) / tilde.r;
    const double taud = (e.zeta - e.thetatilde * e.tautildeold) / e.rhodold;
    e.d += betacheck * betacheck;
    e.norm_r = std::sqrt(e.d + (e.betad - taud) * (e.betad - taud) + e.betadd * e.betadd);
    // ||A|| and cond(A).
    e.norm_a2 += beta * beta;
    e.norm_a = std::sqrt(e.norm_a2);
    e.norm_a2 += alpha * alpha;
    e.maxrbar = std::max(e.maxrbar, rhobarold);
    if (result.iterations > 1) e.minrbar = std::min(e.minrbar, rhobarold);
    e.cond_a = std::max(e.maxrbar, rhotemp) / std::min(e.minrbar, rhotemp);
    // Stopping rules, in the order of rising priority.
    const double norm_x = result.x.norm().item<double>();
    const double test1 = e.norm_r / norm_b;
    const double test2 =
        e.norm_a * e.norm_r != 0 ? std::abs(zetabar) / (e.norm_a * e.norm_r) : INFINITY;
    const double test3 = 1 / e.cond_a;
    const double t1 = test1 / (1 + e.norm_a * norm_x / norm_b);
    const double rtol = options.btol + options.atol * e.norm_a * norm_x / norm_b;
    if (result.iterations >= limit) result.stop = 7;
    if (1 + test3 <= 1) result.stop = 6;
    if (1 + test2 <= 1) result.stop = 5;
    if (1 + t1 <= 1) result.stop = 4;
    if (test3 <= ctol) result.stop = 3;
    if (test2 <= options.atol) result.stop = 2;
    if (test1 <= rtol) result.stop = 1;
    if (result.stop > 0) break;
  }
  return result;
}

}  // namespace coppice
