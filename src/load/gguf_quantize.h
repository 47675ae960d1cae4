// Numbers to Q8_0 blocks, bit for bit as ggml and the gguf Python package do it: 32 numbers x give
// d = max |x| / 127 and q = x (1 / d) rounded half away from zero, all in float32; d is stored as
// float16, q as int8 (load/gguf_dequantize.h has the layout).
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice {

inline constexpr int64_t kQ8BlockNumbers = 32;
inline constexpr int64_t kQ8BlockBytes = 34;

// Quantises `count` blocks of numbers. A block whose 1 / d is no number has q = 0: all its numbers
// are below 1e-36, or one is infinite or no number; then d is 0, infinite or no number. d is
// infinite also where numbers exceed 8.3 million, which is for the caller to refuse.
void QuantizeToQ8(const float* numbers, int64_t count, std::byte* blocks);

}  // namespace coppice
