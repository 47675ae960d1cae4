// A warp a row, which it reads twice, the second time from the cache: rows may be long.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr int kWarps = 8;  // rows of a block

// Calls each(column) for this lane's fours of the columns.
template <typename Each>
__device__ void ForColumns(int64_t width, const Each& each) {
  for (int column = 4 * static_cast<int>(threadIdx.x); column < width; column += 128) each(column);
}

// Of the mean of a row's squares, of which every lane has a sum.
__device__ float InverseRoot(const NormShape& shape, float squares) {
  return 1 / sqrtf(WarpSum(squares) / static_cast<float>(shape.width) + shape.epsilon);
}

__global__ void __launch_bounds__(32 * kWarps) Normed(const RmsNorm norm, void* __restrict__ y) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y, width = norm.shape.width;
  if (row >= norm.shape.rows) return;
  const float* x = norm.x + row * width;
  float squares = 0;
  ForColumns(width, [&](int column) {
    const float4 four = Read(x + column);
    squares += Total(four * four);
  });
  const float inverse = InverseRoot(norm.shape, squares);
  ForColumns(width, [&](int column) {
    WriteRounded(Read(x + column) * inverse * Read(norm.weight + column), y, row * width + column);
  });
}

// With r the inverse of the root mean square and u = by_y weight: r u - x r^3 mean(x u), and what
// is beside it.
__global__ void __launch_bounds__(32 * kWarps)
    NormGradient(const RmsNormGradient gradient, float* __restrict__ by_x) {
  const RmsNorm& norm = gradient.forward;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y, width = norm.shape.width;
  if (row >= norm.shape.rows) return;
  const int64_t start = row * width;
  const float* x = norm.x + start;
  const auto by_normed = [&](int column) {
    return ReadRounded(gradient.by_y, start + column) * Read(norm.weight + column);
  };
  float squares = 0, along = 0;
  ForColumns(width, [&](int column) {
    const float4 four = Read(x + column);
    squares += Total(four * four);
    along += Total(four * by_normed(column));
  });
  const float inverse = InverseRoot(norm.shape, squares);
  const float share = -inverse * inverse * inverse * (WarpSum(along) / static_cast<float>(width));
  ForColumns(width, [&](int column) {
    float4 by = by_normed(column) * inverse + Read(x + column) * share;
    if (gradient.beside != nullptr) by = by + Read(gradient.beside + start + column);
    *reinterpret_cast<float4*>(by_x + start + column) = by;
  });
}

}  // namespace

void Launch(const RmsNorm& norm, void* y, Stream stream) {
  Normed<<<Blocks(norm.shape.rows, kWarps), dim3(32, kWarps), 0, stream>>>(norm, y);
  CheckLaunch();
}

void Launch(const RmsNormGradient& gradient, float* by_x, Stream stream) {
  NormGradient<<<Blocks(gradient.forward.shape.rows, kWarps), dim3(32, kWarps), 0, stream>>>(
      gradient, by_x);
  CheckLaunch();
}

}  // namespace coppice::cuda
