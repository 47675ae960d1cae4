#include "model/linear.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "model/activation_table.h"
#include "model/product.h"

namespace coppice {
namespace {

bool IsEmpty(const Linear& linear) {
  return linear.weight.size(1) == 0 || linear.weight.size(0) == 0;
}

}  // namespace

// Not every product kernel takes a matrix without columns.
at::Tensor Apply(const Linear& linear, const at::Tensor& x) {
  if (IsEmpty(linear)) {
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = linear.weight.size(0);
    return linear.bias.defined() ? linear.bias.expand(shape)
                                 : at::zeros(shape, linear.weight.options());
  }
  return Affine(x.to(linear.weight.scalar_type()), linear.weight, linear.bias);
}

at::Tensor ApplyInFloat(const Linear& linear, const at::Tensor& x) {
  if (IsEmpty(linear)) return Apply(linear, x).to(at::kFloat);
  return AffineInFloat(x.to(linear.weight.scalar_type()), linear.weight, linear.bias);
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
  if (HasTable(x, activation)) return Tabled(x, activation);
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
