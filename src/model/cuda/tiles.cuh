// Products of small bfloat16 matrices in a block's shared memory, on tensor cores.
//
// A tile of the tensor cores is 16 x 16 numbers of a matrix in shared memory; a warp makes 16 rows
// of a product. Rows are padded by 8 numbers, so that 16 bytes of each of eight rows, which are
// read at once, lie in different banks. Fragments are those of PTX's mma.m16n8k16: of the sums,
// lane l has columns 2 (l % 4) and the next of rows l / 4 and l / 4 + 8.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "model/cuda/vectors.cuh"

namespace coppice::cuda {

inline constexpr int kTile = 16;
inline constexpr int kPad = 8;

// A matrix of 16 kColumns columns in shared memory.
template <int kColumns>
struct Matrix {
  static constexpr int kStride = kColumns * kTile + kPad;
  __nv_bfloat16* data;

  __device__ __nv_bfloat16* At(int row, int column) const { return data + row * kStride + column; }
  __device__ unsigned Address(int row, int column) const {
    return static_cast<unsigned>(__cvta_generic_to_shared(At(row, column)));
  }
};

// Four 8 x 8 matrices, whose rows lanes 0-7, 8-15, 16-23 and 24-31 name.
__device__ inline void LoadFour(unsigned address, unsigned (&four)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3])
               : "r"(address)
               : "memory");
}

__device__ inline void LoadFourTransposed(unsigned address, unsigned (&four)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3])
               : "r"(address)
               : "memory");
}

// sums (16, 8) += left (16, 16) right (16, 8).
__device__ inline void MultiplyAdd(const unsigned (&left)[4], unsigned right0, unsigned right1,
                                   float (&sums)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % 32; }

// Tile of rows `row` on and columns `column` on, as the left factor of a product.
template <int kColumns>
__device__ void LoadLeft(const Matrix<kColumns>& m, int row, int column, unsigned (&tile)[4]) {
  LoadFour(m.Address(row + Lane() % 16, column + Lane() / 16 * 8), tile);
}

// The same of the transposed matrix.
template <int kColumns>
__device__ void LoadLeftTransposed(const Matrix<kColumns>& m, int row, int column,
                                   unsigned (&tile)[4]) {
  LoadFourTransposed(m.Address(column + Lane() / 16 * 8 + Lane() % 8, row + Lane() / 8 % 2 * 8),
                     tile);
}

// Sums of a warp's 16 rows: (16, 16 kTiles).
template <int kTiles>
struct Sums {
  float numbers[2 * kTiles][4] = {};
};

// Rows `row` on of a times b', of which there are kTiles tiles of rows.
template <int kColumns, int kTiles>
__device__ void TimesTransposed(const Matrix<kColumns>& a, int row, const Matrix<kColumns>& b,
                                Sums<kTiles>* sums) {
#pragma unroll
  for (int k = 0; k < kColumns; ++k) {
    unsigned left[4];
    LoadLeft(a, row, k * kTile, left);
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      unsigned right[4];
      LoadFour(b.Address(j * kTile + Lane() / 16 * 8 + Lane() % 8, k * kTile + Lane() / 8 % 2 * 8),
               right);
      MultiplyAdd(left, right[0], right[1], sums->numbers[2 * j]);
      MultiplyAdd(left, right[2], right[3], sums->numbers[2 * j + 1]);
    }
  }
}

// Sixteen rows times b, which has kTiles tiles of rows; left(k, tile) gives the rows' tile k.
template <int kTiles, int kColumns, typename Left>
__device__ Sums<kColumns> Times(const Left& left, const Matrix<kColumns>& b) {
  Sums<kColumns> sums;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    unsigned tile[4];
    left(k, tile);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      unsigned right[4];
      LoadFourTransposed(b.Address(k * kTile + Lane() % 16, j * kTile + Lane() / 16 * 8), right);
      MultiplyAdd(tile, right[0], right[1], sums.numbers[2 * j]);
      MultiplyAdd(tile, right[2], right[3], sums.numbers[2 * j + 1]);
    }
  }
  return sums;
}

// Rounds sums to rows `row` on of m.
template <int kColumns>
__device__ void Store(const Sums<kColumns>& sums, const Matrix<kColumns>& m, int row) {
#pragma unroll
  for (int j = 0; j < 2 * kColumns; ++j) {
    const int column = j * 8 + Lane() % 4 * 2;
    *reinterpret_cast<unsigned*>(m.At(row + Lane() / 4, column)) =
        Packed(sums.numbers[j][0], sums.numbers[j][1]);
    *reinterpret_cast<unsigned*>(m.At(row + Lane() / 4 + 8, column)) =
        Packed(sums.numbers[j][2], sums.numbers[j][3]);
  }
}

// Calls each(row, column) for the first numbers of bunches of 8 in [0, rows) x [0, 16 kColumns),
// shared out among `threads` threads, of which this is one.
template <int kColumns, typename Each>
__device__ void ForBunches(int thread, int threads, int rows, const Each& each) {
  constexpr int kOfRow = 2 * kColumns < 8 ? 2 * kColumns : 8;  // that neighbours take
  for (int row = thread / kOfRow; row < rows; row += threads / kOfRow) {
#pragma unroll
    for (int bunch = 0; bunch < 2 * kColumns; bunch += kOfRow)
      each(row, (bunch + thread % kOfRow) * 8);
  }
}

// Begins to copy rows of `width` columns, a multiple of 8, from the device's memory, `pitch`
// numbers from row to row. Those of [0, rows) that are not `there`, and columns from width on, are
// set to 0. All threads take part.
template <int kColumns>
__device__ void BeginCopy(const __nv_bfloat16* from, int64_t pitch, int width, int rows, int there,
                          const Matrix<kColumns>& to) {
  ForBunches<kColumns>(
      static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), rows, [&](int row, int column) {
        const bool is_there = row < there && column < width;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to.Address(row, column)),
                     "l"(is_there ? from + row * pitch + column : from), "r"(is_there ? 16 : 0)
                     : "memory");
      });
}

__device__ inline void FinishCopies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
}

// A warp writes its rows [row, row + 16) that are below `rows`, `width` columns of them, to the
// device's memory.
template <int kColumns>
__device__ void WriteRows(const Matrix<kColumns>& m, int row, int width, int rows,
                          __nv_bfloat16* to, int64_t pitch) {
  ForBunches<kColumns>(Lane(), 32, kTile, [&](int below, int column) {
    if (row + below >= rows || column >= width) return;
    *reinterpret_cast<uint4*>(to + (row + below) * pitch + column) =
        *reinterpret_cast<const uint4*>(m.At(row + below, column));
  });
}

}  // namespace coppice::cuda
