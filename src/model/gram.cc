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

at::Tensor GramMatrix(const at::Tensor& inputs) {
  return GramMatrixOf(inputs.to(at::kFloat), inputs.scalar_type());
}

}  // namespace coppice
