#include "model/gram.h"

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

}  // namespace

at::Tensor GramMatrixOf(const at::Tensor& values, at::ScalarType origin) {
  if (origin != at::kBFloat16 || !values.is_cpu()) return at::mm(values.t(), values);
  const ExactBfloat16Products guard;
  return at::mm(values.t(), values);
}

void ProductSum::Add(const at::Tensor& left, const at::Tensor& right, at::ScalarType origin) {
  constexpr int64_t kStretch = 4096;
  const bool same = left.is_same(right);
  if (!stretch_.defined()) stretch_ = at::zeros({left.size(1), right.size(1)}, left.options());
  if (left.size(1) == 0 || right.size(1) == 0) return;
  if (origin == at::kBFloat16 && left.is_cpu()) {
    const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); };
    const at::Tensor coarse = same ? right : rounded(right);
    const ExactBfloat16Products guard;
    stretch_.addmm_(left.t(), coarse);
    if (!same) stretch_.addmm_(left.t(), rounded(right - coarse));
  } else {
    stretch_.addmm_(left.t(), right);
  }
  rows_ += left.size(0);
  if (rows_ < kStretch) return;
  if (total_.defined()) {
    total_.add_(stretch_);
  } else {
    total_ = stretch_.to(at::kDouble);
  }
  stretch_.zero_();
  rows_ = 0;
}

at::Tensor ProductSum::Total() const {
  if (!total_.defined()) return stretch_.defined() ? stretch_.to(at::kDouble) : at::Tensor();
  return total_ + stretch_;
}

at::Tensor GramMatrix(const at::Tensor& inputs) {
  return GramMatrixOf(inputs.to(at::kFloat), inputs.scalar_type());
}

}  // namespace coppice
