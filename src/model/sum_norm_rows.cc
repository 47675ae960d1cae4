#include "model/sum_norm_rows.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "model/cpu_loops.h"

namespace coppice {
namespace {

// x + y, and what all of it adds up to.
COPPICE_EACH_PROCESSOR
float Add(const float* x, const uint16_t* y, int64_t width, float* sum) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t c = 0; c < width; ++c) {
    sum[c] = x[c] + Widened(y[c]);
    total += sum[c];
  }
  return total;
}

COPPICE_EACH_PROCESSOR
float Add(const float* x, const float* y, int64_t width, float* sum) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t c = 0; c < width; ++c) {
    sum[c] = x[c] + y[c];
    total += sum[c];
  }
  return total;
}

COPPICE_EACH_PROCESSOR
void Round(const float* x, int64_t width, uint16_t* rounded) {
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) rounded[c] = Rounded(x[c]);
}

// One over the deviation.
inline float Inverse(float squares, int64_t width, float epsilon) {
  return 1 / std::sqrt(squares / static_cast<float>(width) + epsilon);
}

// In the place of the numbers.
COPPICE_EACH_PROCESSOR
void Norm(float* x, float mean, const float* weight, const float* bias, int64_t width,
          float epsilon) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < width; ++c) squares += (x[c] - mean) * (x[c] - mean);
  const float inverse = Inverse(squares, width, epsilon);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) x[c] = (x[c] - mean) * inverse * weight[c] + bias[c];
}

// In the place of the gradient by the norm. With n the normed numbers before weight and bias, r one
// over the deviation and u = by_x weight: r (u - mean(u) - n mean(n u)).
COPPICE_EACH_PROCESSOR
void Gradient(const float* x, float mean, const float* weight, int64_t width, float epsilon,
              float* by_x) {
  float squares = 0, total = 0, along = 0;
#pragma omp simd reduction(+ : squares, total, along)
  for (int64_t c = 0; c < width; ++c) {
    const float centred = x[c] - mean, scaled = by_x[c] * weight[c];
    squares += centred * centred;
    total += scaled;
    along += centred * scaled;
  }
  const float inverse = Inverse(squares, width, epsilon);
  const float common = total / static_cast<float>(width);
  const float share = inverse * inverse * (along / static_cast<float>(width));
#pragma omp simd
  for (int64_t c = 0; c < width; ++c)
    by_x[c] = inverse * (by_x[c] * weight[c] - common - (x[c] - mean) * share);
}

// A row of the sum, from number `first` on, and its mean.
float AddRow(const SumNorm& norm, int64_t first, int64_t width, float* sum) {
  const float* hidden = norm.hidden.const_data_ptr<float>() + first;
  const float total = norm.branch.scalar_type() == at::kBFloat16
                          ? Add(hidden, Bits(norm.branch) + first, width, sum)
                          : Add(hidden, norm.branch.const_data_ptr<float>() + first, width, sum);
  return total / static_cast<float>(width);
}

}  // namespace

void NormSums(const SumNorm& norm, const at::Tensor& exact, const at::Tensor& rounded) {
  const int64_t width = norm.weight.numel();
  const auto* weight = norm.weight.const_data_ptr<float>();
  const auto* bias = norm.bias.const_data_ptr<float>();
  auto* to = exact.mutable_data_ptr<float>();
  uint16_t* to_rounded = rounded.defined() ? MutableBits(rounded) : nullptr;
  ForRows(exact, width, [&](int64_t, int64_t first) {
    float* row = to + first;
    const float mean = AddRow(norm, first, width, row);
    Norm(row, mean, weight, bias, width, static_cast<float>(norm.epsilon));
    if (to_rounded != nullptr) Round(row, width, to_rounded + first);
  });
}

void NormSumsGradient(const SumNorm& norm, const at::Tensor& by_exact, const at::Tensor& by_rounded,
                      const at::Tensor& by_sum, const at::Tensor& rounded) {
  const bool both = by_exact.defined() && by_rounded.defined();
  const at::Tensor widened = by_exact.defined() ? by_exact : by_rounded.to(at::kFloat);
  const int64_t width = norm.weight.numel();
  const auto* weight = norm.weight.const_data_ptr<float>();
  const auto* of_exact = widened.const_data_ptr<float>();
  const uint16_t* of_rounded = both ? Bits(by_rounded) : nullptr;
  auto* to = by_sum.mutable_data_ptr<float>();
  uint16_t* to_rounded = MutableBits(rounded);
  ForRows(by_sum, width, [&](int64_t, int64_t first) {
    static thread_local std::vector<float> sum;
    sum.resize(static_cast<size_t>(width));
    const float mean = AddRow(norm, first, width, sum.data());
    float* row = to + first;
    if (both) {
      Add(of_exact + first, of_rounded + first, width, row);
    } else {
      std::copy(of_exact + first, of_exact + first + width, row);
    }
    Gradient(sum.data(), mean, weight, width, static_cast<float>(norm.epsilon), row);
    Round(row, width, to_rounded + first);
  });
}

}  // namespace coppice
