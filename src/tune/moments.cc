#include "tune/moments.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

namespace coppice {
namespace {

// Lets oneDNN read float32 operands as bfloat16 while alive. Only for operands that are bfloat16
// already.
class ExactBfloat16Products {
 public:
  ExactBfloat16Products() { Set(at::Float32Precision::BF16); }
  ExactBfloat16Products(const ExactBfloat16Products&) = delete;
  ExactBfloat16Products& operator=(const ExactBfloat16Products&) = delete;
  ~ExactBfloat16Products() { Set(at::Float32Precision::NONE); }

 private:
  static void Set(at::Float32Precision precision) {
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                            precision);
  }
};

// x'x of float32 values that came from `origin`.
at::Tensor SymmetricProduct(const at::Tensor& x, at::ScalarType origin) {
  if (origin != at::kBFloat16 || !x.is_cpu()) return at::mm(x.t(), x);
  const ExactBfloat16Products guard;
  return at::mm(x.t(), x);
}

}  // namespace

at::Tensor GramMatrix(const at::Tensor& inputs) {
  return SymmetricProduct(inputs.to(at::kFloat), inputs.scalar_type());
}

void Moments::Add(const at::Tensor& inputs, const at::Tensor& residual) {
  const at::Tensor x = inputs.to(at::kFloat);
  if (!gram.defined()) {
    const at::TensorOptions exact = residual.options().dtype(at::kDouble);
    gram = at::zeros({x.size(1), x.size(1)}, exact);
    cross = at::zeros({x.size(1), residual.size(1)}, exact);
    input_sum = at::zeros({x.size(1)}, exact);
    residual_sum = at::zeros({residual.size(1)}, exact);
  }
  tokens += x.size(0);
  residual_sum.add_(residual.sum(0, false, at::kDouble));
  residual_energy += residual.square().sum(at::kDouble).item<double>();
  if (x.size(1) == 0) return;
  gram.add_(SymmetricProduct(x, inputs.scalar_type()));
  cross.add_(at::mm(x.t(), residual));
  input_sum.add_(x.sum(0, false, at::kDouble));
}

}  // namespace coppice
