// Products of bfloat16 matrices with float32 sums on the CPU: LibTorch's own products of bfloat16
// round their result to bfloat16. Tiles are computed by oneDNN's brgemm kernels, which LibTorch
// carries; one shape of tile, so that one kernel is compiled.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

constexpr int64_t kTileRows = 1024;  // of a product: neither more nor fewer

// Whether this build and this processor have them.
bool HasTileProducts();

// An (I, D) matrix of zeros in tiles: (panels of I, panels of D, 64, 64) float32.
at::Tensor ZeroTiles(int64_t inputs, int64_t outputs);

// tiles += left'right. left: (kTileRows, I), right: (kTileRows, D), bfloat16.
void AddTileProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* tiles);

// tiles += x'x, only those on and above the diagonal.
void AddTileGram(const at::Tensor& x, at::Tensor* tiles);

// total += what the tiles hold. total: (I, D) float64.
void AddTiles(const at::Tensor& tiles, at::Tensor* total);

}  // namespace coppice
