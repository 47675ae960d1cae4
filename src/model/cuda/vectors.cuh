// Numbers in bunches of 8 or 16 bytes, bfloat16 and float, and sums over a warp.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace coppice::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float WarpSum(float x) {
#pragma unroll
  for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(kAllLanes, x, other);
  return x;
}

// The halves of a word that holds two bfloat16: those of a float are its upper half.
__device__ inline float2 Unpacked(unsigned two) {
  return {__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u)};
}

__device__ inline unsigned Packed(float low, float high) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&two);
}

// Four bfloat16, 8 bytes.
__device__ inline float4 Unpacked(uint2 four) {
  const float2 a = Unpacked(four.x), b = Unpacked(four.y);
  return {a.x, a.y, b.x, b.y};
}

__device__ inline uint2 Packed(float4 x) { return {Packed(x.x, x.y), Packed(x.z, x.w)}; }

__device__ inline float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ inline float4 operator*(float4 a, float4 b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ inline float4 operator*(float4 a, float b) {
  return {a.x * b, a.y * b, a.z * b, a.w * b};
}
__device__ inline float4 operator-(float4 a, float b) {
  return {a.x - b, a.y - b, a.z - b, a.w - b};
}
__device__ inline float Total(float4 a) { return (a.x + a.y) + (a.z + a.w); }

// Four numbers at a place that is a multiple of four.
__device__ inline float4 Read(const float* x) { return *reinterpret_cast<const float4*>(x); }
__device__ inline float4 ReadRounded(const void* x, int64_t place) {
  return Unpacked(*reinterpret_cast<const uint2*>(static_cast<const __nv_bfloat16*>(x) + place));
}
__device__ inline void WriteRounded(float4 y, void* to, int64_t place) {
  *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(to) + place) = Packed(y);
}

// 2^x and 1 / x with relative errors of 2^-22 and 2^-23; 2^x of large numbers is infinite, and the
// inverse of that is 0.
__device__ inline float FastExp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline float FastInverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace coppice::cuda
