#include "score/curvature.h"

#include <ATen/ATen.h>

#include "model/row_sums.h"

namespace coppice {

void Curvature::Add(const at::Tensor& inputs, const at::Tensor& gradients) {
  // Rounding g to the compute dtype is noise far below the sampling of tokens; its products are
  // exact.
  const at::Tensor g = gradients.to(inputs.scalar_type());
  if (!input_sum.defined())
    input_sum = at::zeros({inputs.size(1)}, inputs.options().dtype(at::kDouble));
  tokens += inputs.size(0);
  input_sum.add_(SumOfRows(inputs));
  gram.Add(inputs, inputs);
  gradient.Add(g, g);
}

at::Tensor Curvature::InputMean() const { return input_sum / static_cast<double>(tokens); }

at::Tensor Curvature::InputGram(bool fit_bias) const {
  at::Tensor total = gram.Total();
  if (fit_bias) {
    total.addmm_(input_sum.unsqueeze(1), InputMean().unsqueeze(0), /*beta=*/1, /*alpha=*/-1);
  }
  return total;
}

}  // namespace coppice
