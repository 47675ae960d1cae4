#include "model/residual_norm.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"
#include "model/optional_tensor.h"
#include "model/product.h"
#include "model/sum_norm_rows.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// hidden, branch: contiguous. bias: (D) bfloat16 or undefined.
cuda::SumAndNorm Sum(const at::Tensor& hidden, const at::Tensor& branch, const at::Tensor& bias,
                     const at::Tensor& weight, const at::Tensor& shift, double epsilon) {
  return {NormShapeOf(hidden, epsilon),   hidden.const_data_ptr<float>(),
          branch.const_data_ptr<float>(), bias.defined() ? bias.const_data_ptr() : nullptr,
          weight.const_data_ptr<float>(), shift.const_data_ptr<float>()};
}

at::Tensor Bfloat16Like(const at::Tensor& x) {
  return at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
}

// The sum's second addend, (..., D): what the product leaves.
at::Tensor Branch(const at::Tensor& inputs, const at::Tensor& matrix, const at::Tensor& bias) {
  if (inputs.is_cpu()) return Affine(inputs, matrix, bias);
  return Multiply(inputs.flatten(0, -2), matrix.t(), at::kFloat);
}

class ProjectedNorm : public torch::autograd::Function<ProjectedNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden,
                               const at::Tensor& inputs, const std::optional<at::Tensor>& by_branch,
                               const at::Tensor& matrix, const std::optional<at::Tensor>& bias,
                               const Norm& norm, double epsilon) {
    const c10::DeviceGuard here(hidden.device());
    const at::Tensor flat = AlignedRows(hidden);
    const at::Tensor branch = Branch(inputs, matrix, bias.value_or(at::Tensor()));
    at::Tensor exact = at::empty(hidden.sizes(), hidden.options()), rounded = Bfloat16Like(hidden);
    at::Tensor added;
    if (hidden.is_cpu()) {
      NormSums({flat, branch, norm.weight, norm.bias, epsilon}, exact, rounded);
    } else {
      if (bias) added = AlignedRows(bias->to(at::kBFloat16));
      cuda::Launch(Sum(flat, branch, added, norm.weight, norm.bias, epsilon),
                   exact.mutable_data_ptr<float>(), rounded.mutable_data_ptr(),
                   cuda::CurrentStream());
    }
    context->save_for_backward({flat, branch, added, matrix, norm.weight, norm.bias});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["by_branch"] = by_branch.has_value();
    context->set_materialize_grads(false);
    return {exact, rounded};
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &branch = saved[1], &matrix = saved[3];
    const double epsilon = context->saved_data["epsilon"].toDouble();
    const c10::DeviceGuard here(hidden.device());
    const at::Tensor by_exact = by_results[0].defined() ? by_results[0].contiguous() : at::Tensor();
    const at::Tensor by_rounded =
        by_results[1].defined() ? by_results[1].contiguous() : at::Tensor();
    at::Tensor by_sum = at::empty(hidden.sizes(), hidden.options()), rounded = Bfloat16Like(hidden);
    if (hidden.is_cpu()) {
      NormSumsGradient({hidden, branch, saved[4], saved[5], epsilon}, by_exact, by_rounded, by_sum,
                       rounded);
    } else {
      const cuda::SumAndNormGradient gradient = {
          Sum(hidden, branch, saved[2], saved[4], saved[5], epsilon),
          by_exact.defined() ? by_exact.const_data_ptr<float>() : nullptr,
          by_rounded.defined() ? by_rounded.const_data_ptr() : nullptr};
      cuda::Launch(gradient, by_sum.mutable_data_ptr<float>(), rounded.mutable_data_ptr(),
                   cuda::CurrentStream());
    }
    at::Tensor by_inputs;
    if (context->needs_input_grad(1)) {
      std::vector<int64_t> shape = hidden.sizes().vec();
      shape.back() = matrix.size(1);
      by_inputs = Multiply(rounded.flatten(0, -2), matrix, at::kBFloat16).view(shape);
    }
    const at::Tensor none;
    const at::Tensor by_branch = context->saved_data["by_branch"].toBool() ? by_sum : none;
    return {by_sum, by_inputs, by_branch, none, none, none, none};
  }
};

}  // namespace

bool HasOwnNorm(const Network& net) {
  const int64_t width = net.spec.width;
  const bool on_cpu = HasLoops(net.compute.device, net.compute.dtype);
  return net.spec.form == BlockForm::kEncoder &&
         (on_cpu || (width % 4 == 0 && width <= cuda::kMostNormColumns && HasKernels(net.compute)));
}

Hidden ProjectAndNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const at::Tensor& inputs, const at::Tensor& by_branch) {
  const variable_list results =
      ProjectedNorm::apply(hidden, inputs.to(at::kBFloat16), Optional(by_branch), sub.out.weight,
                           Optional(sub.out.bias), sub.norm, net.spec.norm_eps);
  return {results[0], results[1]};
}

at::Tensor SumAndNorm(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                      const at::Tensor& branch) {
  const c10::DeviceGuard here(hidden.device());
  at::Tensor exact = at::empty(hidden.sizes(), hidden.options());
  if (hidden.is_cpu()) {
    NormSums({hidden.contiguous(), branch.contiguous(), sub.norm.weight, sub.norm.bias,
              net.spec.norm_eps},
             exact, {});
    return exact;
  }
  cuda::Launch(Sum(hidden.contiguous(), branch.contiguous(), {}, sub.norm.weight, sub.norm.bias,
                   net.spec.norm_eps),
               exact.mutable_data_ptr<float>(), nullptr, cuda::CurrentStream());
  return exact;
}

bool HasOwnEmbedding(const Network& net) {
  const at::ScalarType dtype = net.word.scalar_type();
  const auto is_like = [&](const at::Tensor& table) {
    return !table.defined() || (table.scalar_type() == dtype && table.is_contiguous());
  };
  return HasOwnNorm(net) && net.word.is_cuda() && (dtype == at::kFloat || dtype == at::kBFloat16) &&
         is_like(net.word) && is_like(net.position) && is_like(net.token_type);
}

Hidden EmbedAndNorm(const Network& net, const at::Tensor& ids, const at::Tensor& places,
                    const at::Tensor& types) {
  const c10::DeviceGuard here(net.word.device());
  at::Tensor exact = at::empty({ids.size(0), net.spec.width}, net.word.options().dtype(at::kFloat));
  at::Tensor rounded = Bfloat16Like(exact);
  const bool typed = net.token_type.defined();
  const cuda::EmbedAndNorm sum = {NormShapeOf(exact, net.spec.norm_eps),
                                  net.word.scalar_type() == at::kBFloat16,
                                  net.word.const_data_ptr(),
                                  net.position.const_data_ptr(),
                                  typed ? net.token_type.const_data_ptr() : nullptr,
                                  ids.const_data_ptr<int64_t>(),
                                  places.const_data_ptr<int64_t>(),
                                  typed ? types.const_data_ptr<int64_t>() : nullptr,
                                  net.embedding_norm.weight.const_data_ptr<float>(),
                                  net.embedding_norm.bias.const_data_ptr<float>()};
  cuda::Launch(sum, exact.mutable_data_ptr<float>(), rounded.mutable_data_ptr(),
               cuda::CurrentStream());
  return {exact, rounded};
}

}  // namespace coppice
