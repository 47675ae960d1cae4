#include "model/short_attention.h"

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

cuda::Attention KernelOf(const SubLayer& sub, const at::Tensor& joined, const TextRows& texts,
                         const at::Tensor& distance) {
  const bool biased = sub.relative_bias.defined();
  return {texts.ForKernels(),
          sub.units,
          sub.key_width,
          sub.width,
          static_cast<float>(sub.scale),
          joined.const_data_ptr(),
          biased ? sub.relative_bias.const_data_ptr<float>() : nullptr,
          biased ? distance.const_data_ptr<int64_t>() : nullptr};
}

// The kernels write no rows of padding.
at::Tensor RowsLike(const at::Tensor& x, int64_t width, const TextRows& texts) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  const bool padding = texts.lengths.defined() && !texts.packed;
  return padding ? at::zeros(shape, x.options()) : at::empty(shape, x.options());
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& joined,
                            const std::optional<at::Tensor>& mask, const SubLayer& sub,
                            const TextRows& texts, const std::optional<at::Tensor>& distance) {
    const c10::DeviceGuard here(joined.device());
    at::Tensor mixed = RowsLike(joined, sub.units * sub.width, texts);
    const at::Tensor distances = distance.value_or(at::Tensor());
    cuda::Launch(KernelOf(sub, joined, texts, distances), mixed.mutable_data_ptr(),
                 cuda::CurrentStream());
    context->save_for_backward({joined, sub.relative_bias, distances, texts.starts, texts.lengths});
    context->saved_data["masked"] = mask.has_value();
    context->saved_data["texts"] = texts.texts;
    context->saved_data["longest"] = texts.longest;
    context->saved_data["packed"] = texts.packed;
    context->saved_data["units"] = sub.units;
    context->saved_data["key_width"] = sub.key_width;
    context->saved_data["width"] = sub.width;
    context->saved_data["scale"] = sub.scale;
    return mixed;
  }

  static variable_list backward(AutogradContext* context, const variable_list& by_results) {
    const variable_list saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const TextRows texts{data["texts"].toInt(), data["longest"].toInt(), data["packed"].toBool(),
                         saved[3], saved[4]};
    SubLayer sub;
    sub.units = data["units"].toInt();
    sub.key_width = data["key_width"].toInt();
    sub.width = data["width"].toInt();
    sub.scale = data["scale"].toDouble();
    sub.relative_bias = saved[1];
    const at::Tensor& joined = saved[0];
    const c10::DeviceGuard here(joined.device());
    const at::Tensor by_mixed = by_results[0].contiguous();
    at::Tensor by_joined = RowsLike(joined, joined.size(-1), texts);
    at::Tensor by_mask = at::empty({texts.texts, sub.units}, joined.options().dtype(at::kFloat));
    const cuda::AttentionGradient gradient = {KernelOf(sub, joined, texts, saved[2]),
                                              by_mixed.const_data_ptr()};
    cuda::Launch(gradient, by_joined.mutable_data_ptr(), by_mask.mutable_data_ptr<float>(),
                 cuda::CurrentStream());
    const at::Tensor none;
    return {by_joined, data["masked"].toBool() ? by_mask : none, none, none, none};
  }
};

bool IsTiles(int64_t width) {
  return width > 0 && width % 16 == 0 && width <= cuda::kMostHeadWidth;
}

}  // namespace

bool AreShort(const Network& net, const TextRows& texts) {
  return net.spec.form == BlockForm::kEncoder && HasKernels(net.compute) &&
         texts.longest <= cuda::MostAttentionTokens(net.compute.device.index());
}

bool HasShortAttention(const SubLayer& sub) {
  return sub.kind == UnitKind::kHead && sub.in.size() == 1 && sub.queries == 1 &&
         IsTiles(sub.key_width) && IsTiles(sub.width);
}

at::Tensor ShortAttention(const SubLayer& sub, const at::Tensor& joined, const TextRows& texts,
                          const at::Tensor& distance, const at::Tensor& mask) {
  return Attention::apply(joined.contiguous(), Optional(mask), sub, texts, Optional(distance));
}

}  // namespace coppice
