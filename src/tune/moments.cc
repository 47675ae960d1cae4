#include "tune/moments.h"

#include <ATen/ATen.h>

namespace coppice {

Centred Centre(const Moments& m, bool fit_bias) {
  if (!fit_bias)
    return {m.gram, m.cross, at::zeros_like(m.input_sum), at::zeros_like(m.residual_sum)};
  const auto count = static_cast<double>(m.tokens);
  const at::Tensor input_mean = m.input_sum / count;
  const at::Tensor residual_mean = m.residual_sum / count;
  return {m.gram.defined() ? m.gram - at::outer(m.input_sum, input_mean) : at::Tensor(),
          m.cross - at::outer(m.input_sum, residual_mean), input_mean, residual_mean};
}

at::Tensor BiasChange(const Centred& c, const at::Tensor& weight_change) {
  return c.residual_mean - at::mv(weight_change.t(), c.input_mean);
}

// With y = X dW + db the new residual is R - y.
double ExplainedEnergy(const Moments& m, const at::Tensor& weight_change,
                       const at::Tensor& bias_change) {
  const at::Tensor shift = at::mv(weight_change.t(), m.input_sum);  // (D) sum over tokens of X dW
  const at::Tensor cross =
      (weight_change * m.cross).sum(at::kDouble) + (bias_change * m.residual_sum).sum(at::kDouble);
  const at::Tensor square = (at::mm(m.gram, weight_change) * weight_change).sum(at::kDouble) +
                            2 * (shift * bias_change).sum(at::kDouble) +
                            static_cast<double>(m.tokens) * bias_change.square().sum(at::kDouble);
  return (2 * cross - square).item<double>();
}

void MomentSum::Add(const at::Tensor& inputs, const at::Tensor& residual) {
  gram_.Add(inputs, inputs);
  AddResidual(inputs, residual);
}

void MomentSum::AddResidual(const at::Tensor& inputs, const at::Tensor& residual) {
  if (!input_sum_.defined()) {
    const at::TensorOptions exact = residual.options().dtype(at::kDouble);
    input_sum_ = at::zeros({inputs.size(1)}, exact);
    residual_sum_ = at::zeros({residual.size(1)}, exact);
    energy_ = at::zeros({}, exact);
  }
  tokens_ += inputs.size(0);
  residual_sum_.add_(residual.sum(0, false, at::kDouble));
  energy_.add_(residual.square().sum(at::kDouble));
  input_sum_.add_(inputs.sum(0, false, at::kDouble));
  cross_.Add(inputs, residual);
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
