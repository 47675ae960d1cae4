#include "tune/moments.h"

#include <ATen/ATen.h>

namespace coppice {

void MomentSum::Add(const at::Tensor& inputs, const at::Tensor& residual) {
  const at::Tensor x = inputs.to(at::kFloat);
  gram_.Add(x, x, inputs.scalar_type());
  AddResidual(x, residual, inputs.scalar_type());
}

void MomentSum::AddResidual(const at::Tensor& inputs, const at::Tensor& residual) {
  AddResidual(inputs.to(at::kFloat), residual, inputs.scalar_type());
}

void MomentSum::AddResidual(const at::Tensor& x, const at::Tensor& residual,
                            at::ScalarType origin) {
  if (!input_sum_.defined()) {
    const at::TensorOptions exact = residual.options().dtype(at::kDouble);
    input_sum_ = at::zeros({x.size(1)}, exact);
    residual_sum_ = at::zeros({residual.size(1)}, exact);
    energy_ = at::zeros({}, exact);
  }
  tokens_ += x.size(0);
  residual_sum_.add_(residual.sum(0, false, at::kDouble));
  energy_.add_(residual.square().sum(at::kDouble));
  input_sum_.add_(x.sum(0, false, at::kDouble));
  cross_.Add(x, residual, origin);
}

Moments MomentSum::Take() {
  if (tokens_ == 0) return {};
  return {tokens_, gram_.Take(), cross_.Take(), input_sum_, residual_sum_, energy_.item<double>()};
}

Moments MomentsOf(const at::Tensor& inputs, const at::Tensor& residual) {
  MomentSum sum;
  sum.Add(inputs, residual);
  return sum.Take();
}

}  // namespace coppice
