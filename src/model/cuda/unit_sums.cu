// Sums of products over tokens, bound by memory: a thread takes 8 columns of some tokens.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr unsigned kThreads = 128;

__device__ void AddProducts(const uint4& x, const uint4& y, float4* low, float4* high) {
  *low = *low + Unpacked(uint2{x.x, x.y}) * Unpacked(uint2{y.x, y.y});
  *high = *high + Unpacked(uint2{x.z, x.w}) * Unpacked(uint2{y.z, y.w});
}

__global__ void __launch_bounds__(kThreads)
    SumsOf(const ProductSums sums, float4* __restrict__ of_parts) {
  // 32 bits, of which divisions are quick.
  const auto bunches = static_cast<unsigned>(sums.columns / 8);
  const auto parts = static_cast<unsigned>(sums.parts), rows = static_cast<unsigned>(sums.rows);
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  const unsigned bunch = index % bunches, part = index / bunches % parts;
  const unsigned row = index / bunches / parts % rows, text = index / bunches / parts / rows;
  if (text >= sums.texts) return;
  const int64_t begin = row * sums.row_tokens + part * sums.part_tokens;
  const int64_t end = min(min(begin + sums.part_tokens, (row + 1) * sums.row_tokens), sums.tokens);
  const int64_t first = text * sums.tokens * bunches + bunch;
  const auto* x = static_cast<const uint4*>(sums.x) + first;
  const auto* y = static_cast<const uint4*>(sums.y) + first;
  float4 low = {0, 0, 0, 0}, high = {0, 0, 0, 0};
#pragma unroll 4
  for (int64_t token = begin; token < end; ++token)
    AddProducts(__ldg(x + token * bunches), __ldg(y + token * bunches), &low, &high);
  of_parts[2 * int64_t{index}] = low;
  of_parts[2 * int64_t{index} + 1] = high;
}

}  // namespace

void Launch(const ProductSums& sums, float* of_parts, Stream stream) {
  const int64_t threads = sums.texts * sums.rows * sums.parts * (sums.columns / 8);
  if (threads == 0) return;
  SumsOf<<<Blocks(threads, kThreads), kThreads, 0, stream>>>(sums,
                                                             reinterpret_cast<float4*>(of_parts));
  CheckLaunch();
}

}  // namespace coppice::cuda
