#include "model/text_gelu.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"
#include "model/optional_tensor.h"

namespace coppice {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class Gelu : public torch::autograd::Function<Gelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& mask, const TextRows& texts) {
    const c10::DeviceGuard here(x.device());
    at::Tensor y = at::empty(x.sizes(), x.options());
    cuda::Launch(cuda::Gelu{x.numel(), x.const_data_ptr()}, y.mutable_data_ptr(),
                 cuda::CurrentStream());
    context->save_for_backward({x, texts.packed ? texts.starts : at::Tensor(),
                                texts.packed ? texts.lengths : at::Tensor()});
    context->saved_data["texts"] = texts.texts;
    context->saved_data["longest"] = texts.longest;
    context->saved_data["masked"] = mask.has_value();
    return y;
  }

  // Padded, rows of padding are rows like others: the gradient is 0 there.
  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const c10::DeviceGuard here(x.device());
    const TextRows texts{context->saved_data["texts"].toInt(),
                         context->saved_data["longest"].toInt(), saved[1].defined(), saved[1],
                         saved[2]};
    const at::Tensor by_y = by_results[0].contiguous();
    const int64_t parts = (texts.longest + cuda::kGeluTokens - 1) / cuda::kGeluTokens;
    at::Tensor by_x = at::empty(x.sizes(), x.options());
    at::Tensor sums = at::empty({texts.texts, parts, x.size(-1)}, x.options().dtype(at::kFloat));
    const cuda::GeluGradient gradient = {texts.ForKernels(), x.size(-1), x.const_data_ptr(),
                                         by_y.const_data_ptr()};
    cuda::Launch(gradient, by_x.mutable_data_ptr(), sums.mutable_data_ptr<float>(),
                 cuda::CurrentStream());
    at::Tensor by_mask;
    if (context->saved_data["masked"].toBool())
      by_mask = parts == 1 ? sums.squeeze(1) : sums.sum(1);
    return {by_x, by_mask, at::Tensor()};
  }
};

}  // namespace

bool HasTextGelu(const Network& net, const SubLayer& sub) {
  return sub.kind == UnitKind::kChannel && !sub.gated && net.spec.activation == Activation::kGelu &&
         sub.units > 0 && sub.units % 8 == 0 && net.spec.form == BlockForm::kEncoder &&
         HasKernels(net.compute);
}

at::Tensor TextGelu(const at::Tensor& x, const TextRows& texts, const at::Tensor& mask) {
  return Gelu::apply(x.contiguous(), Optional(mask), texts);
}

}  // namespace coppice
