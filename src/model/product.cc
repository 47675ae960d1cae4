#include "model/product.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "model/cuda/products.h"
#include "model/cuda_rows.h"
#include "model/optional_tensor.h"

namespace coppice {
namespace {

bool IsEights(int64_t numbers) { return numbers % 8 == 0; }  // of bfloat16, 16 bytes each

// How the kernels read x, (K, N) or (B, K, N); nothing where they do not.
std::optional<cuda::Operand> OperandOf(const at::Tensor& x) {
  const int64_t rows = x.size(-2), columns = x.size(-1);
  const int64_t next = x.dim() == 3 ? x.stride(0) : 0;
  const bool straight = x.stride(-1) == 1 && x.stride(-2) >= columns;
  const bool transposed = x.stride(-2) == 1 && x.stride(-1) >= rows;
  if (!straight && !transposed) return {};
  const int64_t stride = straight ? x.stride(-2) : x.stride(-1);
  if (!IsEights(stride) || !IsEights(next) || !IsAligned(x)) return {};
  return cuda::Operand{x.const_data_ptr(), stride, !straight, next};
}

// What is multiplied so long that choosing the quickest kernel pays.
bool IsLarge(const cuda::Product& p) {
  constexpr double kLarge = 2e11;  // products of numbers
  return static_cast<double>(p.count * p.rows) * static_cast<double>(p.columns * p.inner) > kLarge;
}

// Whether the kernels read and write rows (..., N) of x where they are.
bool HasPlainRows(const at::Tensor& x) {
  return x.stride(-1) == 1 && IsEights(x.stride(-2)) && x.stride(-2) >= x.size(-1) && IsAligned(x);
}

// result = left right + bias, or left right + addend, where the kernels take it; false otherwise.
// addend: as result is; may be it.
bool TryToMultiply(const at::Tensor& left, const at::Tensor& right, const at::Tensor& bias,
                   const at::Tensor& addend, at::Tensor* result) {
  if (!left.is_cuda() || left.scalar_type() != at::kBFloat16 ||
      right.scalar_type() != at::kBFloat16 || !cuda::Available(left.device().index()))
    return false;
  const std::optional<cuda::Operand> a = OperandOf(left), b = OperandOf(right);
  const bool written =
      HasPlainRows(*result) &&
      (!addend.defined() || (HasPlainRows(addend) && addend.stride(-2) == result->stride(-2)));
  const bool biased = bias.defined();
  if (!a || !b || !written || (biased && (bias.scalar_type() != at::kBFloat16 || !IsAligned(bias))))
    return false;
  const bool batch = left.dim() == 3;
  const cuda::Product product = {.count = batch ? left.size(0) : 1,
                                 .rows = left.size(-2),
                                 .columns = right.size(-1),
                                 .inner = left.size(-1),
                                 .left = *a,
                                 .right = *b,
                                 .bias = biased ? bias.const_data_ptr() : nullptr,
                                 .exact = result->scalar_type() == at::kFloat,
                                 .addend = addend.defined() ? addend.const_data_ptr() : nullptr,
                                 .stride = result->stride(-2),
                                 .next = batch ? result->stride(0) : 0};
  if (IsLarge(product)) return false;
  const c10::DeviceGuard here(left.device());
  const at::Tensor workspace =
      at::empty({static_cast<int64_t>(cuda::kWorkspaceBytes)}, left.options().dtype(at::kByte));
  return cuda::Multiply(product, result->mutable_data_ptr(), workspace.mutable_data_ptr(),
                        cuda::CurrentStream());
}

std::vector<int64_t> ShapeOf(const at::Tensor& left, const at::Tensor& right) {
  std::vector<int64_t> shape = left.sizes().vec();
  shape.back() = right.size(-1);
  return shape;
}

// bfloat16 rows x (M, I) times weight' (D, I) plus bias (D) on a GPU, in bfloat16 or float32.
class GpuAffine : public torch::autograd::Function<GpuAffine> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            bool exact) {
    context->save_for_backward({weight});
    if (exact) {
      at::Tensor product = Multiply(x, weight.t(), at::kFloat);
      // A product that adds the bias itself takes twice as long.
      return bias ? product.add_(bias->to(at::kFloat)) : product;
    }
    if (!bias) return Multiply(x, weight.t(), x.scalar_type());
    at::Tensor result = at::empty({x.size(0), weight.size(0)}, x.options());
    if (TryToMultiply(x, weight.t(), *bias, {}, &result)) return result;
    return at::addmm(*bias, x, weight.t());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& by_result) {
    const at::Tensor weight = context->get_saved_variables()[0];
    return {Multiply(by_result[0].to(weight.scalar_type()), weight, weight.scalar_type()),
            at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor OnGpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 bool exact) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return GpuAffine::apply(x.flatten(0, -2), weight, Optional(bias), exact).view(shape);
}

bool IsBfloat16OnGpu(const at::Tensor& weight) {
  return weight.is_cuda() && weight.scalar_type() == at::kBFloat16;
}

}  // namespace

at::Tensor Multiply(const at::Tensor& left, const at::Tensor& right, at::ScalarType dtype) {
  if (left.is_cuda()) {
    if (left.size(-1) == 0) return at::zeros(ShapeOf(left, right), left.options().dtype(dtype));
    at::Tensor result = at::empty(ShapeOf(left, right), left.options().dtype(dtype));
    if (result.numel() == 0 || TryToMultiply(left, right, {}, {}, &result)) return result;
  }
  if (left.scalar_type() == dtype) return at::matmul(left, right);
  return left.dim() == 3 ? at::bmm(left, right, dtype) : at::mm(left, right, dtype);
}

void AddProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) {
  if (left.size(1) == 0 || sum->numel() == 0) return;
  if (TryToMultiply(left, right, {}, *sum, sum)) return;
  if (left.scalar_type() == at::kFloat) {
    sum->addmm_(left, right);
  } else {
    at::addmm_out(*sum, *sum, left, right, at::kFloat);
  }
}

at::Tensor SumWithProduct(const at::Tensor& addend, const at::Tensor& left,
                          const at::Tensor& right) {
  at::Tensor sum = at::empty(addend.sizes(), addend.options());
  if (left.size(1) > 0 && sum.numel() > 0 && TryToMultiply(left, right, {}, addend, &sum))
    return sum;
  sum.copy_(addend);
  AddProduct(left, right, &sum);
  return sum;
}

at::Tensor Affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return IsBfloat16OnGpu(weight) ? OnGpu(x, weight, bias, /*exact=*/false)
                                 : at::linear(x, weight, bias);
}

at::Tensor AffineInFloat(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return IsBfloat16OnGpu(weight) ? OnGpu(x, weight, bias, /*exact=*/true)
                                 : at::linear(x, weight, bias).to(at::kFloat);
}

}  // namespace coppice
