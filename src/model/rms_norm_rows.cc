#include "model/rms_norm_rows.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/cpu_loops.h"

namespace coppice {
namespace {

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

// With r the inverse of the root mean square and u = by_y weight: r u - x r^3 mean(x u), and what
// is beside it.
COPPICE_EACH_PROCESSOR
void Gradient(const float* x, const float* weight, int64_t width, float epsilon,
              const uint16_t* by_y, const float* beside, float* by_x) {
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
  if (beside == nullptr) return;
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) by_x[c] += beside[c];
}

}  // namespace

at::Tensor NormedRows(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  const int64_t width = weight.numel();
  const auto* from = x.const_data_ptr<float>();
  const auto* gain = weight.const_data_ptr<float>();
  uint16_t* to = MutableBits(y);
  ForRows(x, width, [&](int64_t, int64_t first) {
    Norm(from + first, gain, width, static_cast<float>(epsilon), to + first);
  });
  return y;
}

at::Tensor NormedRowsGradient(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                              const at::Tensor& by_y, const at::Tensor& beside) {
  at::Tensor by_x = at::empty(x.sizes(), x.options());
  const int64_t width = weight.numel();
  const auto* from = x.const_data_ptr<float>();
  const auto* gain = weight.const_data_ptr<float>();
  const auto* other = beside.defined() ? beside.const_data_ptr<float>() : nullptr;
  auto* to = by_x.mutable_data_ptr<float>();
  ForRows(x, width, [&](int64_t, int64_t first) {
    Gradient(from + first, gain, width, static_cast<float>(epsilon), Bits(by_y) + first,
             other == nullptr ? nullptr : other + first, to + first);
  });
  return by_x;
}

}  // namespace coppice
