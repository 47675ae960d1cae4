#include "tune/moments.h"

#include <ATen/ATen.h>

#include "model/row_sums.h"

namespace coppice {

void Moments::Add(const Moments& more) {
  if (more.tokens == 0) return;
  if (tokens == 0) {
    *this = more;
    return;
  }
  tokens += more.tokens;
  if (gram.defined()) gram.add_(more.gram);
  cross.add_(more.cross);
  input_sum.add_(more.input_sum);
  residual_sum.add_(more.residual_sum);
  residual_energy += more.residual_energy;
}

void SplitMoments::Add(const SplitMoments& more) {
  fitted.Add(more.fitted);
  held_out.Add(more.held_out);
  rival.Add(more.rival);
}

Centred Centre(const Moments& m, bool fit_bias) {
  if (!fit_bias)
    return {m.gram, m.cross, at::zeros_like(m.input_sum), at::zeros_like(m.residual_sum)};
  const auto count = static_cast<double>(m.tokens);
  const at::Tensor input_mean = m.input_sum / count;
  const at::Tensor residual_mean = m.residual_sum / count;
  const auto about = [&](const at::Tensor& product, const at::Tensor& mean) {
    return at::addmm(product, m.input_sum.unsqueeze(1), mean.unsqueeze(0), 1, /*alpha=*/-1);
  };
  return {m.gram.defined() ? about(m.gram, input_mean) : at::Tensor(),
          about(m.cross, residual_mean), input_mean, residual_mean};
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
  at::Tensor energy;
  residual_sum_.add_(SumOfRows(residual, &energy));
  energy_.add_(energy);
  input_sum_.add_(SumOfRows(inputs));
  // Rounded to the inputs' dtype, which is noise far below what a fit leaves of it (moments.h).
  cross_.Add(inputs, residual.to(inputs.scalar_type()));
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
