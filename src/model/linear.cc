#include "model/linear.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"

namespace coppice {
namespace {

bool IsEmpty(const Linear& linear) {
  return linear.weight.size(1) == 0 || linear.weight.size(0) == 0;
}

// bfloat16 rows x: (M, I) times weight' (D, I) plus bias (D), in float32 on a GPU.
class FloatProduct : public torch::autograd::Function<FloatProduct> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
    context->save_for_backward({weight});
    at::Tensor product = at::mm(x, weight.t(), at::kFloat);
    // A product that adds the bias itself takes twice as long.
    return bias ? product.add_(bias->to(at::kFloat)) : product;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const at::Tensor weight = context->get_saved_variables()[0];
    return {at::mm(by_result[0].to(weight.scalar_type()), weight), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

// Not every product kernel takes a matrix without columns.
at::Tensor Apply(const Linear& linear, const at::Tensor& x) {
  if (IsEmpty(linear)) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = linear.weight.size(0);
    return linear.bias.defined() ? linear.bias.expand(shape)
                                 : at::zeros(shape, linear.weight.options());
  }
  return at::linear(x.to(linear.weight.scalar_type()), linear.weight, linear.bias);
}

at::Tensor ApplyInFloat(const Linear& linear, const at::Tensor& x) {
  const at::Tensor& weight = linear.weight;
  if (IsEmpty(linear) || !weight.is_cuda() || weight.scalar_type() != at::kBFloat16)
    return Apply(linear, x).to(at::kFloat);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  std::optional<at::Tensor> bias;
  if (linear.bias.defined()) bias = linear.bias;
  return FloatProduct::apply(x.flatten(0, -2).to(at::kBFloat16), weight, bias).view(shape);
}

std::vector<at::Tensor> ApplyAll(const std::vector<Linear>& layers, const at::Tensor& x,
                                 at::IntArrayRef rows) {
  if (layers.size() < rows.size()) return Apply(layers[0], x).split_with_sizes(rows, -1);
  std::vector<at::Tensor> outputs;
  outputs.reserve(layers.size());
  for (const Linear& layer : layers) outputs.push_back(Apply(layer, x));
  return outputs;
}

at::Tensor Activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kTanh:
      return at::tanh(x);
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kIdentity:
      return x;
  }
  Check(false, "unknown activation");
  return x;
}

at::Tensor Slope(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return at::gelu_backward(at::ones_like(x), x);
    case Activation::kGeluTanh:
      return at::gelu_backward(at::ones_like(x), x, "tanh");
    case Activation::kRelu:
      return x.gt(0).to(x.scalar_type());
    case Activation::kTanh:
      return 1 - at::tanh(x).square();
    case Activation::kSilu:
      return at::silu_backward(at::ones_like(x), x);
    case Activation::kIdentity:
      return at::ones_like(x);
  }
  Check(false, "unknown activation");
  return x;
}

}  // namespace coppice
