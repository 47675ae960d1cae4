#include "model/rms_norm.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"
#include "model/rms_norm_rows.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

cuda::RmsNorm KernelOf(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return {NormShapeOf(x, epsilon), x.const_data_ptr<float>(), weight.const_data_ptr<float>()};
}

class RoundedNorm : public torch::autograd::Function<RoundedNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& weight, double epsilon) {
    const at::Tensor rows = AlignedRows(x);
    context->save_for_backward({rows, weight});
    context->saved_data["epsilon"] = epsilon;
    context->set_materialize_grads(false);
    if (x.is_cpu()) return {x, NormedRows(rows, weight, epsilon)};
    const c10::DeviceGuard here(x.device());
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
    cuda::Launch(KernelOf(rows, weight, epsilon), y.mutable_data_ptr(), cuda::CurrentStream());
    return {x, y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    if (!by_results[1].defined()) return {by_results[0], at::Tensor(), at::Tensor()};
    const at::Tensor by_y = AlignedRows(by_results[1]);
    const at::Tensor beside = by_results[0].defined() ? AlignedRows(by_results[0]) : at::Tensor();
    const double epsilon = context->saved_data["epsilon"].toDouble();
    if (x.is_cpu())
      return {NormedRowsGradient(x, saved[1], epsilon, by_y, beside), at::Tensor(), at::Tensor()};
    const c10::DeviceGuard here(x.device());
    at::Tensor by_x = at::empty(x.sizes(), x.options());
    cuda::Launch(cuda::RmsNormGradient{KernelOf(x, saved[1], epsilon), by_y.const_data_ptr(),
                                       beside.defined() ? beside.const_data_ptr<float>() : nullptr},
                 by_x.mutable_data_ptr<float>(), cuda::CurrentStream());
    return {by_x, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool HasOwnRmsNorm(const Network& net) {
  const bool on_cpu = HasLoops(net.compute.device, net.compute.dtype);
  return net.spec.form == BlockForm::kDecoder &&
         (on_cpu || (net.spec.width % 4 == 0 && HasKernels(net.compute)));
}

at::Tensor RmsNormRounded(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return RoundedNorm::apply(x, weight, epsilon)[1];
}

Hidden WithRmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const variable_list both = RoundedNorm::apply(x, weight, epsilon);
  return {both[0], both[1]};
}

}  // namespace coppice
