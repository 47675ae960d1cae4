// Sums of A'B over batches of activations: Gram matrices, and products with residuals.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace coppice {

// A'B in float32 over stretches of some thousand rows, in float64 beyond. bfloat16 numbers are
// multiplied at their own rate, no product rounded, with float32 sums (bench/HISTORY.md has the
// error on real layers). Of a symmetric product, A and B one tensor, only what is on and above the
// diagonal is computed. On the CPU rows wait until there are enough for a product of one fixed
// shape: oneDNN compiles a kernel for every shape, which takes about as long as it runs.
class ProductSum {
 public:
  // left: (M, I) float32 or bfloat16. right: left, or (M, D) of the same dtype. Either all calls
  // have one tensor on both sides, or none.
  void Add(const at::Tensor& left, const at::Tensor& right);
  // (I, D) float64 so far; undefined before the first Add().
  at::Tensor Total() const;
  // The same at the end, in the memory of the sum itself: such a matrix may be a gigabyte. Nothing
  // can be added any more.
  at::Tensor Take();

 private:
  void Start(const at::Tensor& left, const at::Tensor& right);
  void AddRows(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum) const;
  void AddWaiting(at::Tensor* sum) const;
  void AddStretch(const at::Tensor& stretch, at::Tensor* total) const;

  std::vector<at::Tensor> left_, right_;  // waiting
  int64_t waiting_ = 0;                   // rows
  at::Tensor stretch_;                    // (I, D) float32, or in tiles (tile_products.h)
  at::Tensor total_;                      // (I, D) float64
  int64_t rows_ = 0;                      // in stretch_
  bool symmetric_ = false;
  bool tiles_ = false;
};

// Fills what is below the diagonal of an (n, n) matrix with what is above it, in place: such a
// matrix may be a gigabyte.
void MirrorInPlace(const at::Tensor& matrix);

}  // namespace coppice
