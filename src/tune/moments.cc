#include "tune/moments.h"

#include <ATen/ATen.h>

#include "model/gram.h"

namespace coppice {

void Moments::Add(const at::Tensor& inputs, const at::Tensor& residual) {
  const at::Tensor x = inputs.to(at::kFloat);
  if (!gram.defined()) {
    const at::TensorOptions exact = residual.options().dtype(at::kDouble);
    gram = at::zeros({x.size(1), x.size(1)}, exact);
    cross = at::zeros({x.size(1), residual.size(1)}, exact);
    input_sum = at::zeros({x.size(1)}, exact);
    residual_sum = at::zeros({residual.size(1)}, exact);
  }
  tokens += x.size(0);
  residual_sum.add_(residual.sum(0, false, at::kDouble));
  residual_energy += residual.square().sum(at::kDouble).item<double>();
  if (x.size(1) == 0) return;
  gram.add_(GramMatrixOf(x, inputs.scalar_type()));
  cross.add_(at::mm(x.t(), residual));
  input_sum.add_(x.sum(0, false, at::kDouble));
}

}  // namespace coppice
