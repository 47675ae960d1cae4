#include "model/rms_norm_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

// Compiled once for each width of vectors; the processor's is chosen when the program is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define COPPICE_EACH_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define COPPICE_EACH_PROCESSOR
#endif

namespace coppice {
namespace {

// A bfloat16 is the upper half of a float.
inline float Widened(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

// To nearest, ties to even. A NaN stays one.
inline uint16_t Rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(x == x ? nearest : 0x7FC0);
}

// One over the root of the mean of squares.
inline float Inverse(float squares, int64_t width, float epsilon) {
  return 1 / std::sqrt(squares / static_cast<float>(width) + epsilon);
}

COPPICE_EACH_PROCESSOR
void Norm(const float* x, const float* weight, int64_t width, float epsilon, uint16_t* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < width; ++c) squares += x[c] * x[c];
  const float inverse = Inverse(squares, width, epsilon);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) y[c] = Rounded(x[c] * inverse * weight[c]);
}

// With r the inverse of the root mean square and u = by_y weight: r u - x r^3 mean(x u).
COPPICE_EACH_PROCESSOR
void Gradient(const float* x, const float* weight, int64_t width, float epsilon,
              const uint16_t* by_y, float* by_x) {
  float squares = 0, along = 0;
#pragma omp simd reduction(+ : squares, along)
  for (int64_t c = 0; c < width; ++c) {
    squares += x[c] * x[c];
    along += x[c] * weight[c] * Widened(by_y[c]);
  }
  const float inverse = Inverse(squares, width, epsilon);
  const float share = inverse * inverse * inverse * (along / static_cast<float>(width));
#pragma omp simd
  for (int64_t c = 0; c < width; ++c)
    by_x[c] = Widened(by_y[c]) * weight[c] * inverse - x[c] * share;
}

const uint16_t* Bits(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

// Calls each(first number) for every row of `width` numbers, some rows a thread.
template <typename Each>
void ForRows(const at::Tensor& x, int64_t width, const Each& each) {
  constexpr int64_t kNumbers = 1 << 14;  // that are worth another thread
  at::parallel_for(0, x.numel() / width, std::max<int64_t>(1, kNumbers / width),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) each(row * width);
                   });
}

}  // namespace

at::Tensor NormedRows(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  const int64_t width = weight.numel();
  const auto* from = x.const_data_ptr<float>();
  const auto* gain = weight.const_data_ptr<float>();
  auto* to = static_cast<uint16_t*>(y.mutable_data_ptr());
  ForRows(x, width, [&](int64_t row) {
    Norm(from + row, gain, width, static_cast<float>(epsilon), to + row);
  });
  return y;
}

at::Tensor NormedRowsGradient(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                              const at::Tensor& by_y) {
  at::Tensor by_x = at::empty(x.sizes(), x.options());
  const int64_t width = weight.numel();
  const auto* from = x.const_data_ptr<float>();
  const auto* gain = weight.const_data_ptr<float>();
  auto* to = by_x.mutable_data_ptr<float>();
  ForRows(x, width, [&](int64_t row) {
    Gradient(from + row, gain, width, static_cast<float>(epsilon), Bits(by_y) + row, to + row);
  });
  return by_x;
}

}  // namespace coppice
