// Gram matrices of activations at the full rate of the compute dtype.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace coppice {

// X'X in float32 of X (M, I). X in bfloat16 is multiplied by the CPU's bfloat16 units with float32
// sums and result: no product is rounded.
at::Tensor GramMatrix(const at::Tensor& inputs);

// The same of float32 values that came from `origin`, so are exact in it.
at::Tensor GramMatrixOf(const at::Tensor& values, at::ScalarType origin);

// A'B summed over batches: in float32 over stretches of some thousand rows, in float64 beyond, so
// that the sum is exact to float32's products and costs little more than they do. Of a symmetric
// product, A and B one tensor, only the blocks on and above the diagonal are computed. On the CPU
// rows wait until there are enough for a product of one fixed shape: oneDNN compiles a kernel for
// every shape, which takes about as long as it runs.
class ProductSum {
 public:
  // left: (M, I) float32 values that came from `origin`. right: (M, D) float32; where the CPU
  // multiplies bfloat16, it goes in as the sum of two such numbers, which is exact to 2^-17. Either
  // all calls have one tensor on both sides, or none.
  void Add(const at::Tensor& left, const at::Tensor& right, at::ScalarType origin);
  // (I, D) float64 so far; undefined before the first Add().
  at::Tensor Total() const;
  // The same at the end, in the memory of the sum itself: such a matrix may be a gigabyte. Nothing
  // can be added any more.
  at::Tensor Take();

 private:
  void AddRows(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) const;
  void EndStretch();
  void AddWaiting(at::Tensor* sum) const;

  std::vector<at::Tensor> left_, right_;  // waiting
  int64_t waiting_ = 0;                   // rows
  at::Tensor stretch_;                    // float32
  at::Tensor total_;                      // float64
  int64_t rows_ = 0;                      // in stretch_
  bool symmetric_ = false;
  at::ScalarType origin_ = at::kFloat;
};

}  // namespace coppice
