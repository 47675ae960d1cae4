// A block a row of logits. Each thread keeps the largest of its own and the sum of powers below it,
// so that one pass over them does; the gradient reads them a second time, from the cache.
#include <cmath>

#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;
constexpr float kLog2E = 1.44269504f;

// The sum of exp(x) over some x, as `sum` times exp(largest).
struct Powers {
  float largest = -INFINITY, sum = 0;
};

// 0 below everything, also where both are -inf.
__device__ float PowerBelow(float x, float largest) {
  return x == -INFINITY ? 0 : FastExp2((x - largest) * kLog2E);
}

__device__ Powers Join(Powers a, Powers b) {
  const float largest = fmaxf(a.largest, b.largest);
  return {largest, a.sum * PowerBelow(a.largest, largest) + b.sum * PowerBelow(b.largest, largest)};
}

__device__ void Add(float4 x, Powers* powers) {
  const float largest = fmaxf(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)), powers->largest);
  if (largest > powers->largest) {
    powers->sum *= PowerBelow(powers->largest, largest);
    powers->largest = largest;
  }
  powers->sum += (PowerBelow(x.x, largest) + PowerBelow(x.y, largest)) +
                 (PowerBelow(x.z, largest) + PowerBelow(x.w, largest));
}

__device__ Powers OfWarp(Powers powers) {
#pragma unroll
  for (int other = 16; other > 0; other /= 2) {
    powers = Join(powers, {__shfl_xor_sync(kAllLanes, powers.largest, other),
                           __shfl_xor_sync(kAllLanes, powers.sum, other)});
  }
  return powers;
}

// The whole row's, to all threads.
__device__ Powers OfBlock(Powers powers) {
  __shared__ Powers of_warps[kWarps];
  powers = OfWarp(powers);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = powers;
  __syncthreads();
  return OfWarp(of_warps[threadIdx.x % 32]);
}

__device__ float SumOfBlock(float x) {
  __shared__ float of_warps[kWarps];
  x = WarpSum(x);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
  __syncthreads();
  return WarpSum(of_warps[threadIdx.x % 32]);
}

// Calls each(column) for this thread's fours of the columns.
template <typename Each>
__device__ void ForColumns(int64_t width, const Each& each) {
  for (int64_t column = 4 * threadIdx.x; column < width; column += 4 * kThreads) each(column);
}

__global__ void __launch_bounds__(kThreads)
    LogSumOf(const LogSumExp logits, float* __restrict__ sums, float* __restrict__ along) {
  const int64_t row = blockIdx.x, start = row * logits.width;
  Powers powers;
  float weighted = 0;
  ForColumns(logits.width, [&](int64_t column) {
    const float4 x = Read(logits.logits + start + column);
    Add(x, &powers);
    if (logits.weights != nullptr) weighted += Total(x * Read(logits.weights + start + column));
  });
  powers = OfBlock(powers);
  if (logits.weights != nullptr) weighted = SumOfBlock(weighted);
  if (threadIdx.x != 0) return;
  sums[row] = powers.largest + logf(powers.sum);
  if (logits.weights != nullptr) along[row] = weighted;
}

__global__ void __launch_bounds__(kThreads)
    NextTokenGradientOf(const NextTokenGradient gradient, void* __restrict__ by_logits,
                        float* __restrict__ likely) {
  const int64_t row = blockIdx.x, start = row * gradient.width;
  Powers powers;
  ForColumns(gradient.width,
             [&](int64_t column) { Add(Read(gradient.logits + start + column), &powers); });
  powers = OfBlock(powers);
  const float inverse = 1 / powers.sum;
  const int64_t next = gradient.next[row];
  ForColumns(gradient.width, [&](int64_t column) {
    const float4 x = Read(gradient.logits + start + column);
    const auto p = [&](float one) { return PowerBelow(one, powers.largest) * inverse; };
    float by[4] = {p(x.x), p(x.y), p(x.z), p(x.w)};
    if (next >= column && next < column + 4) {
      likely[row] = by[next - column];
      by[next - column] -= 1;
    }
    WriteRounded({by[0], by[1], by[2], by[3]}, by_logits, start + column);
  });
}

}  // namespace

void Launch(const LogSumExp& logits, float* sums, float* along, Stream stream) {
  if (logits.rows == 0) return;
  LogSumOf<<<Blocks(logits.rows, 1), kThreads, 0, stream>>>(logits, sums, along);
  CheckLaunch();
}

void Launch(const NextTokenGradient& gradient, void* by_logits, float* likely, Stream stream) {
  if (gradient.rows == 0) return;
  NextTokenGradientOf<<<Blocks(gradient.rows, 1), kThreads, 0, stream>>>(gradient, by_logits,
                                                                         likely);
  CheckLaunch();
}

}  // namespace coppice::cuda
