#include "model/gated_silu.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"
#include "model/gated_silu_rows.h"
#include "model/optional_tensor.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// gate: (..., C), or (..., 2 C) and `up` undefined.
GatedRows RowsOf(const at::Tensor& gate, const at::Tensor& up) {
  const int64_t stride = gate.size(-1), channels = up.defined() ? stride : stride / 2;
  return {gate.numel() / stride, channels, stride, Bits(gate),
          up.defined() ? Bits(up) : Bits(gate) + channels};
}

cuda::GatedSilu KernelOf(const GatedRows& x) {
  return {x.rows, x.channels, x.stride, x.gate, x.up};
}

class Gated : public torch::autograd::Function<Gated> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const std::optional<at::Tensor>& up) {
    const at::Tensor gates = AlignedRows(gate), ups = up ? AlignedRows(*up) : at::Tensor();
    const GatedRows rows = RowsOf(gates, ups);
    std::vector<int64_t> shape = gate.sizes().vec();
    shape.back() = rows.channels;
    at::Tensor x = at::empty(shape, gate.options());
    context->save_for_backward({gates, ups});
    if (gate.is_cpu()) {
      GatedSiluOfRows(rows, MutableBits(x));
      return x;
    }
    const c10::DeviceGuard here(gate.device());
    cuda::Launch(KernelOf(rows), x.mutable_data_ptr(), cuda::CurrentStream());
    return x;
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const GatedRows rows = RowsOf(gate, up);
    const at::Tensor by_x = AlignedRows(by_results[0]);
    at::Tensor by_gate = at::empty(gate.sizes(), gate.options());
    at::Tensor by_up = up.defined() ? at::empty(up.sizes(), up.options()) : at::Tensor();
    uint16_t* of_gate = MutableBits(by_gate);
    uint16_t* of_up = up.defined() ? MutableBits(by_up) : of_gate + rows.channels;
    if (gate.is_cpu()) {
      GatedSiluGradientOfRows(rows, Bits(by_x), of_gate, of_up);
      return {by_gate, by_up};
    }
    const c10::DeviceGuard here(gate.device());
    cuda::Launch(cuda::GatedSiluGradient{KernelOf(rows), by_x.const_data_ptr()}, of_gate, of_up,
                 cuda::CurrentStream());
    return {by_gate, by_up};
  }
};

}  // namespace

bool HasGatedSilu(const Network& net, const SubLayer& sub) {
  const bool on_cpu = HasLoops(net.compute.device, net.compute.dtype);
  return sub.kind == UnitKind::kChannel && sub.gated && net.spec.activation == Activation::kSilu &&
         sub.units > 0 && (on_cpu || (sub.units % 8 == 0 && HasKernels(net.compute)));
}

at::Tensor GatedSilu(const at::Tensor& gate, const at::Tensor& up) {
  return Gated::apply(gate, Optional(up));
}

}  // namespace coppice
