#include "model/gated_silu_rows.h"

#include <cmath>

#include "model/cpu_loops.h"

namespace coppice {
namespace {

// 1 / (1 + exp(-x)), by the power that cannot overflow.
inline float Sigmoid(float x) {
  const float exponent = -std::fabs(x) * static_cast<float>(kLog2E);
  const float power = exponent < -126 ? 0.0F : Exp2(exponent);
  return (x < 0 ? power : 1.0F) / (1 + power);
}

COPPICE_EACH_PROCESSOR
void Gated(const uint16_t* gate, const uint16_t* up, int64_t channels, uint16_t* x) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    const float g = Widened(gate[c]);
    x[c] = Rounded(g * Sigmoid(g) * Widened(up[c]));
  }
}

// With s the sigmoid of the gate: by_x up s (1 + gate (1 - s)), and by_x gate s.
COPPICE_EACH_PROCESSOR
void Gradient(const uint16_t* gate, const uint16_t* up, const uint16_t* by_x, int64_t channels,
              uint16_t* by_gate, uint16_t* by_up) {
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    const float g = Widened(gate[c]), s = Sigmoid(g), by = Widened(by_x[c]);
    by_gate[c] = Rounded(by * Widened(up[c]) * (s + g * s * (1 - s)));
    by_up[c] = Rounded(by * g * s);
  }
}

}  // namespace

void GatedSiluOfRows(const GatedRows& gated, uint16_t* x) {
  ForRows(gated.rows * gated.channels, gated.channels, [&](int64_t row, int64_t first) {
    Gated(gated.gate + row * gated.stride, gated.up + row * gated.stride, gated.channels,
          x + first);
  });
}

void GatedSiluGradientOfRows(const GatedRows& gated, const uint16_t* by_x, uint16_t* by_gate,
                             uint16_t* by_up) {
  ForRows(gated.rows * gated.channels, gated.channels, [&](int64_t row, int64_t first) {
    const int64_t at = row * gated.stride;
    Gradient(gated.gate + at, gated.up + at, by_x + first, gated.channels, by_gate + at,
             by_up + at);
  });
}

}  // namespace coppice
