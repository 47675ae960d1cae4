// Sums over rows in double, bound by memory: a thread takes 4 columns of some rows.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr unsigned kThreads = 128;

template <bool kRounded>
__device__ float4 ReadFour(const void* x, int64_t place) {
  if (kRounded) return ReadRounded(x, place);
  return Read(static_cast<const float*>(x) + place);
}

__device__ void Add(float4 x, double* sums) {
  sums[0] += x.x;
  sums[1] += x.y;
  sums[2] += x.z;
  sums[3] += x.w;
}

__device__ void Write(const double* sums, double* to) {
#pragma unroll
  for (int k = 0; k < 4; ++k) to[k] = sums[k];
}

// blockIdx.y: the part.
template <bool kRounded>
__global__ void __launch_bounds__(kThreads)
    SumsOf(const RowSums rows, double* __restrict__ sums, double* __restrict__ squares) {
  const int64_t column = 4 * (int64_t{blockIdx.x} * kThreads + threadIdx.x);
  if (column >= rows.columns) return;
  const int64_t begin = blockIdx.y * rows.part_rows;
  const int64_t end = min(begin + rows.part_rows, rows.rows);
  double of_x[4] = {}, of_squares[4] = {};
#pragma unroll 4
  for (int64_t row = begin; row < end; ++row) {
    const float4 x = ReadFour<kRounded>(rows.x, row * rows.columns + column);
    Add(x, of_x);
    if (squares != nullptr) Add(x * x, of_squares);
  }
  const int64_t place = blockIdx.y * rows.columns + column;
  Write(of_x, sums + place);
  if (squares != nullptr) Write(of_squares, squares + place);
}

}  // namespace

void Launch(const RowSums& rows, double* sums, double* squares, Stream stream) {
  if (rows.rows == 0 || rows.columns == 0) return;
  const dim3 grid(Blocks(rows.columns / 4, kThreads), Blocks(rows.rows, rows.part_rows));
  if (rows.rounded) {
    SumsOf<true><<<grid, kThreads, 0, stream>>>(rows, sums, squares);
  } else {
    SumsOf<false><<<grid, kThreads, 0, stream>>>(rows, sums, squares);
  }
  CheckLaunch();
}

}  // namespace coppice::cuda
