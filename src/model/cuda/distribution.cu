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

// Of some logits x with shares p: the sum of exp(x - largest), of p, and of p (x - largest), which
// loses no digits to how large they are.
struct Sums {
  float largest = -INFINITY, powers = 0, shares = 0, along = 0;
};

// 0 below everything, also where both are -inf.
__device__ float PowerBelow(float x, float largest) {
  return x == -INFINITY ? 0 : FastExp2((x - largest) * kLog2E);
}

// By a new largest.
__device__ Sums Moved(Sums sums, float largest) {
  sums.powers *= PowerBelow(sums.largest, largest);
  if (sums.shares != 0) sums.along += sums.shares * (sums.largest - largest);
  sums.largest = largest;
  return sums;
}

__device__ Sums Join(Sums a, Sums b) {
  const float largest = fmaxf(a.largest, b.largest);
  a = Moved(a, largest);
  b = Moved(b, largest);
  return {largest, a.powers + b.powers, a.shares + b.shares, a.along + b.along};
}

__device__ void AddPowers(float4 x, Sums* sums) {
  const float largest = fmaxf(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)), sums->largest);
  if (largest > sums->largest) *sums = Moved(*sums, largest);
  sums->powers += (PowerBelow(x.x, largest) + PowerBelow(x.y, largest)) +
                  (PowerBelow(x.z, largest) + PowerBelow(x.w, largest));
}

// x: added with AddPowers() before.
__device__ void AddShares(float4 x, float4 p, Sums* sums) {
  sums->shares += Total(p);
  sums->along += Total(p * (x - sums->largest));
}

__device__ Sums OfWarp(Sums sums) {
#pragma unroll
  for (int other = 16; other > 0; other /= 2) {
    sums = Join(sums, {__shfl_xor_sync(kAllLanes, sums.largest, other),
                       __shfl_xor_sync(kAllLanes, sums.powers, other),
                       __shfl_xor_sync(kAllLanes, sums.shares, other),
                       __shfl_xor_sync(kAllLanes, sums.along, other)});
  }
  return sums;
}

// The whole row's, to all threads.
__device__ Sums OfBlock(Sums sums) {
  __shared__ Sums of_warps[kWarps];
  sums = OfWarp(sums);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sums;
  __syncthreads();
  return OfWarp(of_warps[threadIdx.x % 32]);
}

// Calls each(column) for this thread's fours of the columns.
template <typename Each>
__device__ void ForColumns(int64_t width, const Each& each) {
  for (int64_t column = 4 * threadIdx.x; column < width; column += 4 * kThreads) each(column);
}

__global__ void __launch_bounds__(kThreads)
    LogSumOf(const LogSumExp logits, float* __restrict__ results) {
  const int64_t row = blockIdx.x, start = row * logits.width;
  Sums sums;
  ForColumns(logits.width, [&](int64_t column) {
    const float4 x = Read(logits.logits + start + column);
    AddPowers(x, &sums);
    if (logits.shares != nullptr) AddShares(x, Read(logits.shares + start + column), &sums);
  });
  sums = OfBlock(sums);
  if (threadIdx.x != 0) return;
  const float log_powers = logf(sums.powers);
  results[row] = logits.shares == nullptr ? sums.largest + log_powers : log_powers - sums.along;
}

__global__ void __launch_bounds__(kThreads)
    NextTokenGradientOf(const NextTokenGradient gradient, void* __restrict__ by_logits,
                        float* __restrict__ likely) {
  const int64_t row = blockIdx.x, start = row * gradient.width;
  Sums sums;
  ForColumns(gradient.width,
             [&](int64_t column) { AddPowers(Read(gradient.logits + start + column), &sums); });
  sums = OfBlock(sums);
  const float inverse = 1 / sums.powers;
  const int64_t next = gradient.next[row];
  ForColumns(gradient.width, [&](int64_t column) {
    const float4 x = Read(gradient.logits + start + column);
    const auto p = [&](float one) { return PowerBelow(one, sums.largest) * inverse; };
    float by[4] = {p(x.x), p(x.y), p(x.z), p(x.w)};
    if (next >= column && next < column + 4) {
      likely[row] = by[next - column];
      by[next - column] -= 1;
    }
    WriteRounded({by[0], by[1], by[2], by[3]}, by_logits, start + column);
  });
}

}  // namespace

void Launch(const LogSumExp& logits, float* results, Stream stream) {
  if (logits.rows == 0) return;
  LogSumOf<<<Blocks(logits.rows, 1), kThreads, 0, stream>>>(logits, results);
  CheckLaunch();
}

void Launch(const NextTokenGradient& gradient, void* by_logits, float* likely, Stream stream) {
  if (gradient.rows == 0) return;
  NextTokenGradientOf<<<Blocks(gradient.rows, 1), kThreads, 0, stream>>>(gradient, by_logits,
                                                                         likely);
  CheckLaunch();
}

}  // namespace coppice::cuda
