// Gated SiLU of rows on the CPU in one pass: LibTorch makes it of a SiLU and a product, its
// gradient of four, and rounds what stands between them.
#pragma once

#include <cstdint>

namespace coppice {

// Rows of C channels, of gate and up and of what is made of them; bfloat16 bits.
struct GatedRows {
  int64_t rows, channels;     // M, C
  int64_t stride;             // from a row of gate to the next, as of up
  const uint16_t *gate, *up;  // (M, C)
};

// gate / (1 + exp(-gate)) up into x: (M, C) without gaps.
void GatedSiluOfRows(const GatedRows& gated, uint16_t* x);

// The gradients by gate and up, with rows as far apart as theirs. by_x: (M, C) without gaps.
void GatedSiluGradientOfRows(const GatedRows& gated, const uint16_t* by_x, uint16_t* by_gate,
                             uint16_t* by_up);

}  // namespace coppice
