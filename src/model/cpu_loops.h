// What loops over numbers on the CPU share. They are plain loops over one row, which the compiler
// turns into vectors, once for each width of vectors that processors have; the processor's own is
// chosen when the program is loaded.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#if defined(__x86_64__) && !defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 12
#define COPPICE_EACH_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define COPPICE_EACH_PROCESSOR
#endif

namespace coppice {

// Whether the loops are for what computes in this dtype on this device: bfloat16 on the CPU.
inline bool HasLoops(at::Device device, at::ScalarType dtype) {
  return device.is_cpu() && dtype == at::kBFloat16;
}
inline bool HasLoops(const at::Tensor& x) { return HasLoops(x.device(), x.scalar_type()); }

// A bfloat16 is the upper half of a float.
inline float Widened(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

// To nearest, ties to even. A NaN stays one.
inline uint16_t Rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(x == x ? nearest : 0x7FC0);
}

inline constexpr double kLog2E = 1.4426950408889634;

// 2^x for x of 0 at most, to 2e-7 of it: a minimax fit between -1/2 and 1/2, moved to its place by
// the exponent. What is below 2^-126 is that.
inline float Exp2(float x) {
  constexpr float kRound = 12582912;  // 1.5 2^23: a float added to it is rounded to an integer
  const float above = x < -126.0F ? -126.0F : x;
  const float whole = above + kRound;
  const float rest = above - (whole - kRound);
  float power = 1.535336188319500e-4F;
  power = power * rest + 1.339887440266574e-3F;
  power = power * rest + 9.618437357674640e-3F;
  power = power * rest + 5.550332471162809e-2F;
  power = power * rest + 2.402264791363012e-1F;
  power = power * rest + 6.931472028550421e-1F;
  power = power * rest + 1.0F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(power) +
                              (std::bit_cast<uint32_t>(whole) << 23));
}

// Of a bfloat16 tensor.
inline const uint16_t* Bits(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}
inline uint16_t* MutableBits(const at::Tensor& x) {
  return static_cast<uint16_t*>(x.mutable_data_ptr());
}

// Calls each(row, its first number) for every row of `width` of the numbers, some rows a thread.
template <typename Each>
void ForRows(int64_t numbers, int64_t width, const Each& each) {
  constexpr int64_t kNumbers = 1 << 14;  // that are worth another thread
  at::parallel_for(0, numbers / width, std::max<int64_t>(1, kNumbers / width),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) each(row, row * width);
                   });
}

template <typename Each>
void ForRows(const at::Tensor& x, int64_t width, const Each& each) {
  ForRows(x.numel(), width, each);
}

}  // namespace coppice
