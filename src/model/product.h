// Products of matrices of activations. On a GPU those of bfloat16 go by a few kernels of cuBLAS
// (model/cuda/products.h) where that suits them; all others are LibTorch's.
#pragma once

#include <ATen/core/Tensor.h>

namespace coppice {

// left (M, K) times right (K, N), or of batches (B, M, K) and (B, K, N): in float32, or in left's
// dtype. float32 of others than float32: on a GPU alone.
at::Tensor Multiply(const at::Tensor& left, const at::Tensor& right, at::ScalarType dtype);

// sum += left right. left: (M, K), right: (K, N), of one dtype; sum: (M, N) float32. Of other
// dtypes than float32: on a GPU alone.
void AddProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* sum);

// addend + left right in a tensor of its own. addend: (M, N) float32, contiguous; left and right as
// AddProduct() takes them.
at::Tensor SumWithProduct(const at::Tensor& addend, const at::Tensor& left,
                          const at::Tensor& right);

// x weight' + bias in their dtype. x: (..., I), weight: (D, I), bias: (D) or undefined.
// Differentiable by x, and on the CPU by all.
at::Tensor Affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// The same in float32, bfloat16 on a GPU alone. Differentiable by x alone.
at::Tensor AffineInFloat(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace coppice
