#include "model/softmax_rows.h"

#include <limits>

#include "model/cpu_loops.h"

namespace coppice {
namespace {

// Both in units of powers of two.
COPPICE_EACH_PROCESSOR
float AddBias(const uint16_t* scores, const float* bias, int64_t count, float scale, float* sums) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < count; ++c) {
    sums[c] = Widened(scores[c]) * scale + bias[c] * static_cast<float>(kLog2E);
    largest = largest < sums[c] ? sums[c] : largest;
  }
  return largest;
}

// The same without a bias; the largest is taken off before scores are scaled.
COPPICE_EACH_PROCESSOR
void Scale(const uint16_t* scores, int64_t count, float scale, float* sums) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < count; ++c) {
    const float score = Widened(scores[c]);
    largest = largest < score ? score : largest;
  }
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) sums[c] = (Widened(scores[c]) - largest) * scale;
}

// In the place of the exponents, less `largest`.
COPPICE_EACH_PROCESSOR
void Shares(float* exponents, float largest, int64_t count, uint16_t* shares) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; ++c) {
    exponents[c] = Exp2(exponents[c] - largest);
    sum += exponents[c];
  }
  const float inverse = 1 / sum;
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) {
    exponents[c] *= inverse;
    shares[c] = Rounded(exponents[c]);
  }
}

COPPICE_EACH_PROCESSOR
void Gradient(uint16_t* by_shares, const float* exact, int64_t count, float scale) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t c = 0; c < count; ++c) along += exact[c] * Widened(by_shares[c]);
#pragma omp simd
  for (int64_t c = 0; c < count; ++c)
    by_shares[c] = Rounded(exact[c] * (Widened(by_shares[c]) - along) * scale);
}

}  // namespace

void Softmax(const uint16_t* scores, const float* bias, int64_t count, double scale, float* exact,
             uint16_t* shares) {
  const auto in_twos = static_cast<float>(scale * kLog2E);
  float largest = 0;
  if (bias != nullptr) {
    largest = AddBias(scores, bias, count, in_twos, exact);
  } else {
    Scale(scores, count, in_twos, exact);
  }
  Shares(exact, largest, count, shares);
}

void SoftmaxGradient(uint16_t* by_shares, const float* exact, int64_t count, double scale) {
  Gradient(by_shares, exact, count, static_cast<float>(scale));
}

}  // namespace coppice
