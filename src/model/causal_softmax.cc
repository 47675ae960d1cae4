#include "model/causal_softmax.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

#include "model/cpu_loops.h"

namespace coppice {
namespace {

// A row of `seen` scores. scale: above zero, times log2(e). powers: room for as many.
COPPICE_EACH_PROCESSOR
void Softmax(uint16_t* scores, int64_t seen, float scale, float* powers) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < seen; ++c) {
    const float score = Widened(scores[c]);
    largest = largest < score ? score : largest;
  }
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < seen; ++c) {
    powers[c] = Exp2((Widened(scores[c]) - largest) * scale);
    sum += powers[c];
  }
  const float inverse = 1 / sum;
#pragma omp simd
  for (int64_t c = 0; c < seen; ++c) {
    powers[c] *= inverse;
    scores[c] = Rounded(powers[c]);
  }
}

COPPICE_EACH_PROCESSOR
void Gradient(uint16_t* by_shares, const float* shares, int64_t seen, float scale) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t c = 0; c < seen; ++c) along += shares[c] * Widened(by_shares[c]);
#pragma omp simd
  for (int64_t c = 0; c < seen; ++c)
    by_shares[c] = Rounded(shares[c] * (Widened(by_shares[c]) - along) * scale);
}

}  // namespace

void CausalSoftmax(const at::Tensor& scores, int64_t queries, double scale,
                   const at::Tensor& exact) {
  const int64_t keys = scores.size(2);
  uint16_t* all = MutableBits(scores);
  float* unrounded = exact.defined() ? exact.mutable_data_ptr<float>() : nullptr;
  ForRows(scores, keys, [&](int64_t row, int64_t first) {
    static thread_local std::vector<float> room;
    if (unrounded == nullptr) room.resize(static_cast<size_t>(keys));
    float* powers = unrounded == nullptr ? room.data() : unrounded + first;
    const int64_t seen = keys - queries + row % queries + 1;
    Softmax(all + first, seen, static_cast<float>(scale * kLog2E), powers);
    std::fill(all + first + seen, all + first + keys, uint16_t{0});
    if (unrounded != nullptr) std::fill(powers + seen, powers + keys, 0.0F);
  });
}

void CausalSoftmaxGradient(const at::Tensor& by_shares, const at::Tensor& shares, int64_t queries,
                           double scale) {
  const int64_t keys = by_shares.size(2);
  uint16_t* all = MutableBits(by_shares);
  const auto* of_shares = shares.const_data_ptr<float>();
  ForRows(by_shares, keys, [&](int64_t row, int64_t first) {
    const int64_t seen = keys - queries + row % queries + 1;
    Gradient(all + first, of_shares + first, seen, static_cast<float>(scale));
    std::fill(all + first + seen, all + first + keys, uint16_t{0});
  });
}

}  // namespace coppice
