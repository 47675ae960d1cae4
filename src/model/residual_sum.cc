#include "model/residual_sum.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "model/cpu_loops.h"
#include "model/cuda_rows.h"
#include "model/optional_tensor.h"
#include "model/product.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

COPPICE_EACH_PROCESSOR
void Add(const float* x, const uint16_t* y, int64_t width, float* sum) {
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) sum[c] = x[c] + Widened(y[c]);
}

// x: (..., D) float32; y: the same of bfloat16; both without gaps.
at::Tensor Widening(const at::Tensor& x, const at::Tensor& y) {
  at::Tensor sum = at::empty(x.sizes(), x.options());
  const int64_t width = x.size(-1);
  const auto* left = x.const_data_ptr<float>();
  const uint16_t* right = Bits(y);
  auto* to = sum.mutable_data_ptr<float>();
  ForRows(sum, width,
          [&](int64_t, int64_t first) { Add(left + first, right + first, width, to + first); });
  return sum;
}

class ProjectedSum : public torch::autograd::Function<ProjectedSum> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& inputs, const std::optional<at::Tensor>& by_branch,
                            const at::Tensor& matrix, const std::optional<at::Tensor>& bias) {
    const c10::DeviceGuard here(hidden.device());
    context->save_for_backward({matrix});
    context->saved_data["by_branch"] = by_branch.has_value();
    if (hidden.is_cpu()) {
      const at::Tensor branch = Affine(inputs, matrix, bias.value_or(at::Tensor()));
      return Widening(hidden.contiguous(), branch.contiguous());
    }
    const at::Tensor stream = AlignedRows(hidden).flatten(0, -2);  // (M, D)
    const at::Tensor sum = SumWithProduct(stream, inputs.flatten(0, -2), matrix.t());
    return (bias ? sum + bias->to(at::kFloat) : sum).view(hidden.sizes());
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
    return {by_sum, by_inputs, by_branch ? by_sum : at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool HasOwnSum(const Network& net) {
  const bool on_cpu = HasLoops(net.compute.device, net.compute.dtype);
  return net.spec.form == BlockForm::kDecoder && (on_cpu || HasKernels(net.compute));
}

at::Tensor ProjectAndSum(const SubLayer& sub, const at::Tensor& hidden, const at::Tensor& inputs,
                         const at::Tensor& by_branch) {
  return ProjectedSum::apply(hidden, inputs.to(at::kBFloat16), Optional(by_branch), sub.out.weight,
                             Optional(sub.out.bias));
}

}  // namespace coppice
