#include "load/gguf_quantize.h"

#include <c10/util/Half.h>

#include <cmath>
#include <cstring>

namespace coppice {
namespace {

// Largest magnitude; not a number if one of them is none.
float MaxMagnitude(const float* numbers) {
  float max = 0;
  for (int64_t n = 0; n < kQ8BlockNumbers; ++n) {
    const float magnitude = std::fabs(numbers[n]);
    max = magnitude > max || std::isnan(magnitude) ? magnitude : max;
  }
  return max;
}

// Half away from zero, for magnitudes below 2^31: what std::round() does, without a call.
int8_t Round(float number) {
  const float magnitude = std::fabs(number);
  int rounded = static_cast<int>(magnitude);
  if (magnitude - static_cast<float>(rounded) >= 0.5F) ++rounded;
  return static_cast<int8_t>(number < 0 ? -rounded : rounded);
}

void QuantizeBlock(const float* numbers, std::byte* block) {
  const float d = MaxMagnitude(numbers) / 127;
  const float inverse = d == 0 ? 0 : 1 / d;
  const c10::Half stored = d;
  std::memcpy(block, &stored.x, sizeof(stored.x));
  const bool usable = std::isfinite(d) && std::isfinite(inverse);
  for (int64_t n = 0; n < kQ8BlockNumbers; ++n) {
    const int8_t q = usable ? Round(numbers[n] * inverse) : int8_t{0};
    block[2 + n] = static_cast<std::byte>(q);
  }
}

}  // namespace

void QuantizeToQ8(const float* numbers, int64_t count, std::byte* blocks) {
  for (int64_t i = 0; i < count; ++i) {
    QuantizeBlock(numbers + i * kQ8BlockNumbers, blocks + i * kQ8BlockBytes);
  }
}

}  // namespace coppice
