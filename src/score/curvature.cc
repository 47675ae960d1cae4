#include "score/curvature.h"

#include <ATen/ATen.h>

namespace coppice {

void Curvature::Add(const at::Tensor& inputs, const at::Tensor& gradients) {
  const at::Tensor x = inputs.to(at::kFloat);
  // Rounding g to the compute dtype is noise far below the sampling of tokens; its products are
  // exact.
  const at::Tensor g = gradients.to(inputs.scalar_type()).to(at::kFloat);
  if (!input_sum.defined()) input_sum = at::zeros({x.size(1)}, x.options().dtype(at::kDouble));
  tokens += x.size(0);
  input_sum.add_(x.sum(0, false, at::kDouble));
  gram.Add(x, x, inputs.scalar_type());
  gradient.Add(g, g, inputs.scalar_type());
}

}  // namespace coppice
