// Products of bfloat16 matrices on an NVIDIA GPU by few of cuBLAS' kernels.
//
// cuBLAS has hundreds of kernels for the same product and takes the quickest for every shape. A
// process loads a kernel's code when it is first launched, which takes some 4 ms, and a run that
// prunes has hundreds of shapes that it multiplies a few times each: choosing alike for shapes that
// are alike spares it most of that (bench/HISTORY.md). Shapes fall into few classes, and all of a
// class go by what suits one shape of it, whatever came before.
//
// Nothing here knows of LibTorch. A build without CUDA has no_kernels.cc instead, in which
// Multiply() multiplies nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/cuda/kernels.h"

namespace coppice::cuda {

// A batch of matrices of the device's memory, or of their transposes. Memory is 16 bytes aligned
// and so is each of its rows.
struct Operand {
  const void* numbers;  // bfloat16
  int64_t stride;       // numbers from one row in memory to the next; a row is contiguous
  bool transposed;      // rows in memory are the operand's columns
  int64_t next;         // numbers to the next matrix
};

// result = left right + bias + addend, summed in float; a bias or an addend, not both.
struct Product {
  int64_t count;                 // of the batch
  int64_t rows, columns, inner;  // M, N, K
  Operand left, right;           // (M, K), (K, N)
  const void* bias;              // (N) bfloat16, or null
  bool exact;                    // the result is float, else bfloat16
  const void* addend;            // where rows are as far apart as the result's and of its type;
                                 // may be the result; or null
  int64_t stride, next;          // of the result, as an operand's
};

inline constexpr size_t kWorkspaceBytes = size_t{32} << 20;

// False where no kernel was found, and nothing done. workspace: kWorkspaceBytes that no other
// stream uses.
bool Multiply(const Product& product, void* result, void* workspace, Stream stream);

// cuBLAS' of the current device (a cublasLtHandle_t).
void* ProductHandle();

}  // namespace coppice::cuda
