// Blocks of quantised numbers to float32, bit for bit what the gguf Python package makes of them.
//
// d, m are float16 numbers of a block, written x16; q unsigned integers of the named width, s small
// scales. The products are exact in float32 (11 + 6 + 5 significant bits at most; Q6_K rounds once,
// at its last), so that a fused multiply-add cannot change a bit.
//
//   Q4_0  d16, q4[32]                          d (q - 8)
//   Q4_1  d16, m16, q4[32]                     d q + m
//   Q5_0  d16, bit 4 of q5[32], q5[32]         d (q - 16)
//   Q5_1  d16, m16, bit 4 of q5[32], q5[32]    d q + m
//   Q8_0  d16, int8 q[32]                      d q
//   Q4_K  d16, m16, s6[8] and t6[8], q4[256]   d s q - m t, s and t for each 32
//   Q5_K  the same with q5[256]: bit 4 of all, then the lower bits
//   Q6_K  q6[256], int8 s[16], d16             d s (q - 32), s for each 16
//
// Two four-bit numbers share a byte: n and n + 16 in blocks of 32, n and n + 32 in each 64 of a
// Q4_K or Q5_K block, n and n + 64 in each 128 of a Q6_K block, the lower half of the byte first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "load/gguf_types.h"

namespace coppice {

// Writes `count` blocks at `blocks`, of any alignment, to `out` as float32. The function of one of
// the types above; nullptr for another.
using GgufDequantizer = void (*)(const std::byte* blocks, int64_t count, float* out);
GgufDequantizer FindGgufDequantizer(GgmlType type);

}  // namespace coppice
