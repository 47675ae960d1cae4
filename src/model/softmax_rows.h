// The softmax of a row of scores in bfloat16 on the CPU, and its gradient: LibTorch takes a
// conversion to float32, a product, a sum, a softmax and another conversion.
#pragma once

#include <cstdint>

namespace coppice {

// shares = softmax(scores * scale + bias), `count` of each, in bfloat16 and exactly. bias: may be
// null. scale: above zero. shares may take the place of scores.
void Softmax(const uint16_t* scores, const float* bias, int64_t count, double scale, float* exact,
             uint16_t* shares);

// The gradient by the scores, in the place of that by the shares. exact: the shares.
void SoftmaxGradient(uint16_t* by_shares, const float* exact, int64_t count, double scale);

}  // namespace coppice
