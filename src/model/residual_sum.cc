#include "model/residual_sum.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "model/cuda_rows.h"
#include "model/optional_tensor.h"
#include "model/product.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class ProjectedSum : public torch::autograd::Function<ProjectedSum> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& inputs, const std::optional<at::Tensor>& by_branch,
                            const at::Tensor& matrix) {
    const c10::DeviceGuard here(hidden.device());
    context->save_for_backward({matrix});
    context->saved_data["by_branch"] = by_branch.has_value();
    const at::Tensor stream = AlignedRows(hidden).flatten(0, -2);  // (M, D)
    return SumWithProduct(stream, inputs.flatten(0, -2), matrix.t()).view(hidden.sizes());
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const at::Tensor matrix = context->get_saved_variables()[0];
    const at::Tensor& by_sum = by_results[0];
    const c10::DeviceGuard here(by_sum.device());
    at::Tensor by_inputs;
    if (context->needs_input_grad(1)) {
      std::vector<int64_t> shape = by_sum.sizes().vec();
      shape.back() = matrix.size(1);
      by_inputs =
          Multiply(by_sum.to(at::kBFloat16).flatten(0, -2), matrix, at::kBFloat16).view(shape);
    }
    const bool by_branch = context->saved_data["by_branch"].toBool();
    return {by_sum, by_inputs, by_branch ? by_sum : at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool HasOwnSum(const Network& net) {
  return net.spec.form == BlockForm::kDecoder && HasKernels(net.compute);
}

at::Tensor ProjectAndSum(const SubLayer& sub, const at::Tensor& hidden, const at::Tensor& inputs,
                         const at::Tensor& by_branch) {
  const at::Tensor sum =
      ProjectedSum::apply(hidden, inputs.to(at::kBFloat16), Optional(by_branch), sub.out.weight);
  return sub.out.bias.defined() ? sum + sub.out.bias.to(at::kFloat) : sum;
}

}  // namespace coppice
