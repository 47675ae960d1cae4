#include "score/value_basis.h"

#include <ATen/ATen.h>

namespace coppice {
namespace {

// The square root of a positive matrix (n, n) or its inverse; eigenvalues below 1e-12 of the
// largest count as that.
struct Roots {
  at::Tensor root, inverse;
};

Roots RootsOf(const at::Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  const at::Tensor bounded = at::maximum(values, (values.max() * 1e-12).clamp_min(1e-300));  // (n)
  const at::Tensor root = bounded.sqrt();
  return {at::mm(vectors * root, vectors.t()), at::mm(vectors / root, vectors.t())};
}

}  // namespace

at::Tensor MakeValueBasis(const Curvature& curvature, const at::Tensor& weight, int64_t units,
                          const ValueBasisOptions& options) {
  const at::Tensor gram = curvature.InputGram(options.fit_bias);  // (I, I)
  const int64_t queries = options.queries;
  const int64_t width = weight.size(0) / (units * queries);  // F
  const at::Tensor metric = RootsOf(curvature.gradient.Total()).root;
  const at::Tensor rows = at::mm(weight.to(gram.device(), at::kDouble), metric);  // (I, D)
  std::vector<at::Tensor> bases;
  for (int64_t unit = 0; unit < units; ++unit) {
    at::Tensor energy = at::zeros({width, width}, gram.options());
    std::vector<at::Tensor> outputs;  // (F, D) of each query head
    for (int64_t q = 0; q < queries; ++q) {
      const int64_t begin = (unit * queries + q) * width;
      energy += gram.slice(0, begin, begin + width).slice(1, begin, begin + width);
      outputs.push_back(rows.slice(0, begin, begin + width));
    }
    const Roots roots = RootsOf(energy);
    const at::Tensor lost = at::mm(roots.root, at::cat(outputs, 1));               // (F, R * D)
    const at::Tensor order = std::get<1>(at::linalg_eigh(at::mm(lost, lost.t())))  // ascending
                                 .flip(1);
    bases.push_back(std::get<0>(at::linalg_qr(at::mm(roots.inverse, order))));
  }
  return at::stack(bases).to(at::kCPU);
}

}  // namespace coppice
