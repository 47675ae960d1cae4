#include "model/gated_silu.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"
#include "model/optional_tensor.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// gate: (..., C), or (..., 2 C) and `up` undefined.
cuda::GatedSilu KernelOf(const at::Tensor& gate, const at::Tensor& up) {
  const int64_t stride = gate.size(-1), channels = up.defined() ? stride : stride / 2;
  const auto* first = static_cast<const at::BFloat16*>(gate.const_data_ptr());
  return {gate.numel() / stride, channels, stride, first,
          up.defined() ? up.const_data_ptr() : first + channels};
}

class Gated : public torch::autograd::Function<Gated> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const std::optional<at::Tensor>& up) {
    const c10::DeviceGuard here(gate.device());
    const at::Tensor gates = AlignedRows(gate), ups = up ? AlignedRows(*up) : at::Tensor();
    const cuda::GatedSilu kernel = KernelOf(gates, ups);
    std::vector<int64_t> shape = gate.sizes().vec();
    shape.back() = kernel.channels;
    at::Tensor x = at::empty(shape, gate.options());
    cuda::Launch(kernel, x.mutable_data_ptr(), cuda::CurrentStream());
    context->save_for_backward({gates, ups});
    return x;
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const c10::DeviceGuard here(gate.device());
    const at::Tensor by_x = AlignedRows(by_results[0]);
    const cuda::GatedSiluGradient kernel = {KernelOf(gate, up), by_x.const_data_ptr()};
    at::Tensor by_gate = at::empty(gate.sizes(), gate.options());
    at::Tensor by_up = up.defined() ? at::empty(up.sizes(), up.options()) : at::Tensor();
    auto* first = static_cast<at::BFloat16*>(by_gate.mutable_data_ptr());
    cuda::Launch(kernel, first,
                 up.defined() ? by_up.mutable_data_ptr() : first + kernel.forward.channels,
                 cuda::CurrentStream());
    return {by_gate, by_up};
  }
};

}  // namespace

bool HasGatedSilu(const Network& net, const SubLayer& sub) {
  return sub.kind == UnitKind::kChannel && sub.gated && net.spec.activation == Activation::kSilu &&
         sub.units > 0 && sub.units % 8 == 0 && HasKernels(net.compute);
}

at::Tensor GatedSilu(const at::Tensor& gate, const at::Tensor& up) {
  return Gated::apply(gate, Optional(up));
}

}  // namespace coppice
