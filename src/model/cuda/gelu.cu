// GELU and its gradient, bound by memory: the normal distribution costs a power and an inverse.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBunches = 4;  // of 8 numbers a thread

// Phi(x) = 1 / (1 + 2^(x q(x^2))): the logarithm of Phi(x) / Phi(-x) is odd and smooth, so that a
// polynomial serves both tails. Relative error below 2e-4 for |x| <= 6, where Phi(-x) is 1e-9; a
// bfloat16 is rounded by up to 4e-3. The coefficients are a minimax fit.
__device__ float Phi(float x) {
  const float t = fminf(x * x, 36.0f);
  float q = 2.230803389e-11f;
  q = q * t - 3.394959425e-09f;
  q = q * t + 2.109239716e-07f;
  q = q * t - 6.702358860e-06f;
  q = q * t + 1.005593585e-04f;
  q = q * t + 4.437667667e-04f;
  q = q * t - 1.057162210e-01f;
  q = q * t - 2.301577091e+00f;
  return FastInverse(1 + FastExp2(x * q));
}

__device__ float ByGelu(float x) { return x * Phi(x); }

// Phi(x) + x phi(x), and x Phi(x).
__device__ float2 SlopeAndGelu(float x) {
  constexpr float kHalfLog2E = 0.72134752f, kPeak = 0.39894228f;
  const float below = Phi(x);
  return {below + x * kPeak * FastExp2(-kHalfLog2E * x * x), x * below};
}

__device__ unsigned ByGelu(unsigned two) {
  const float2 x = Unpacked(two);
  return Packed(ByGelu(x.x), ByGelu(x.y));
}

__global__ void __launch_bounds__(kThreads) GeluOf(const Gelu gelu, void* __restrict__ y) {
  const int64_t whole = gelu.numbers / 8;
  const auto* from = static_cast<const uint4*>(gelu.x);
  auto* to = static_cast<uint4*>(y);
  const int64_t first = int64_t{blockIdx.x} * kThreads * kBunches + threadIdx.x;
  uint4 bunches[kBunches];
#pragma unroll
  for (int k = 0; k < kBunches; ++k)
    if (first + k * kThreads < whole) bunches[k] = __ldg(from + first + k * kThreads);
#pragma unroll
  for (int k = 0; k < kBunches; ++k) {
    if (first + k * kThreads >= whole) continue;
    const uint4 x = bunches[k];
    to[first + k * kThreads] = {ByGelu(x.x), ByGelu(x.y), ByGelu(x.z), ByGelu(x.w)};
  }
  if (blockIdx.x > 0 || threadIdx.x >= gelu.numbers % 8) return;
  const int64_t last = whole * 8 + threadIdx.x;
  static_cast<__nv_bfloat16*>(y)[last] =
      __float2bfloat16(ByGelu(__bfloat162float(static_cast<const __nv_bfloat16*>(gelu.x)[last])));
}

// Two channels of a token: their gradient, and y * by_y added to sums.
__device__ unsigned Gradient(unsigned two, unsigned by_two, float2* sums) {
  const float2 x = Unpacked(two), by_y = Unpacked(by_two);
  const float2 a = SlopeAndGelu(x.x), b = SlopeAndGelu(x.y);
  sums->x += a.y * by_y.x;
  sums->y += b.y * by_y.y;
  return Packed(a.x * by_y.x, b.x * by_y.y);
}

// A thread takes 8 channels of up to kGeluTokens tokens of a text.
__global__ void __launch_bounds__(kThreads)
    GeluGradientOf(const GeluGradient gradient, void* __restrict__ by_x,
                   float* __restrict__ by_mask) {
  const Texts& texts = gradient.texts;
  const int64_t bunches = gradient.channels / 8;
  const int64_t bunch = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (bunch >= bunches) return;
  const int64_t text = blockIdx.x, begin = int64_t{blockIdx.z} * kGeluTokens;
  const int64_t length = texts.lengths == nullptr ? texts.tokens : texts.lengths[text];
  const int64_t row = texts.starts == nullptr ? text * texts.tokens : texts.starts[text];
  const auto tokens = static_cast<int>(min(length - begin, kGeluTokens));
  const int64_t start = (row + begin) * bunches + bunch;
  const auto* x = static_cast<const uint4*>(gradient.x) + start;
  const auto* by_y = static_cast<const uint4*>(gradient.by_y) + start;
  auto* to = static_cast<uint4*>(by_x) + start;
  float2 sums[4] = {};
#pragma unroll 4
  for (int t = 0; t < tokens; ++t) {
    const uint4 a = __ldg(x + t * bunches), g = __ldg(by_y + t * bunches);
    to[t * bunches] = {Gradient(a.x, g.x, &sums[0]), Gradient(a.y, g.y, &sums[1]),
                       Gradient(a.z, g.z, &sums[2]), Gradient(a.w, g.w, &sums[3])};
  }
  float* mask = by_mask + (text * gridDim.z + blockIdx.z) * gradient.channels + bunch * 8;
  reinterpret_cast<float4*>(mask)[0] = {sums[0].x, sums[0].y, sums[1].x, sums[1].y};
  reinterpret_cast<float4*>(mask)[1] = {sums[2].x, sums[2].y, sums[3].x, sums[3].y};
}

}  // namespace

void Launch(const Gelu& gelu, void* y, Stream stream) {
  const unsigned blocks = Blocks(gelu.numbers, 8 * kBunches * kThreads);
  GeluOf<<<blocks, kThreads, 0, stream>>>(gelu, y);
  CheckLaunch();
}

void Launch(const GeluGradient& gradient, void* by_x, float* by_mask, Stream stream) {
  const dim3 grid(static_cast<unsigned>(gradient.texts.count),
                  Blocks(gradient.channels / 8, kThreads),
                  Blocks(gradient.texts.tokens, kGeluTokens));
  GeluGradientOf<<<grid, kThreads, 0, stream>>>(gradient, by_x, by_mask);
  CheckLaunch();
}

}  // namespace coppice::cuda
