// Where the texts of a batch stand among the rows of its tensors, for kernels of our own
// (model/cuda/kernels.h).
//
// Padded, every text has T rows, those of padding at its end. Packed, there are no rows but real
// tokens, text after text: (M, D) takes the place of (B, T, D). What works a row at a time, as
// products, norms and activations do, does not mind; attention and sums over a text's tokens are
// told here where it begins.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/batch.h"
#include "model/cuda/kernels.h"

namespace coppice {

struct TextRows {
  int64_t texts = 0, longest = 0;  // B, T
  bool packed = false;
  at::Tensor starts;     // (B) int64 row of each one's first token; undefined: every T rows
  at::Tensor lengths;    // (B) int64 its tokens; undefined: all T
  at::Tensor real = {};  // packed: (M) int64 where they stand among B * T; undefined: everywhere

  cuda::Texts ForKernels() const;
};

// Padded, as the batch's ids are.
TextRows PaddedRows(const Batch& batch);

TextRows PackedRows(const Batch& batch);

// Packed rows (M, n) with zeros where padding stands: (B, T, n). Padded ones are as they were.
at::Tensor Unpacked(const TextRows& texts, const at::Tensor& rows);

// Of packed rows (M, n) every text's first: (B, n).
at::Tensor FirstOfEach(const TextRows& texts, const at::Tensor& rows);

// The other way, where texts are packed: (B, T, n) to (M, n).
at::Tensor Packed(const TextRows& texts, const at::Tensor& padded);

}  // namespace coppice
