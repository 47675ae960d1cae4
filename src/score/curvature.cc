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

}  // namespace coppice
