// Token ids of several examples as tensors, padded on the right to one length.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace coppice {

// In place of a next token that is not known, as in LibTorch's losses.
inline constexpr int64_t kNoToken = -100;

struct Batch {
  at::Tensor ids;                // (B, T) int64
  at::Tensor type_ids;           // (B, T) int64
  at::Tensor mask;               // (B, T) bool, true for real tokens
  bool padded = false;           // whether any entry of mask is false
  at::Tensor real;               // (M) int64 where the real tokens stand among B * T
  at::Tensor next;               // (B) int64, the token after a row's last, -100 where none is
                                 // known; undefined where no row has one
  std::vector<int64_t> samples;  // (B) which sample each row is

  int64_t rows() const { return static_cast<int64_t>(samples.size()); }
};

// Rows of x (B, T, n) that are real tokens, (M, n): what every statistic is made of.
at::Tensor RealRows(const Batch& batch, const at::Tensor& x);

// The token after each token, kNoToken where none is known: (B, T) int64.
at::Tensor NextTokens(const Batch& batch);

}  // namespace coppice
