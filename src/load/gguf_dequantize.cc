#include "load/gguf_dequantize.h"

#include <c10/util/Half.h>

#include <array>
#include <cstring>

namespace coppice {
namespace {

using Bytes = const uint8_t*;

float HalfAt(Bytes bytes) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof(bits));
  return c10::Half(bits, c10::Half::from_bits());
}

uint32_t WordAt(Bytes bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// A number of 4 bits from `bytes`, whose lower halves are numbers 0 to `width` - 1, and its upper
// halves the next `width`.
int FourBits(Bytes bytes, int n, int width) {
  return n < width ? bytes[n] & 0x0F : bytes[n - width] >> 4;
}

// One block of that type.
template <GgmlType kType>
void DequantizeBlock(Bytes block, float* out);

// ---- Blocks of 32

template <>
void DequantizeBlock<GgmlType::kQ4_0>(Bytes block, float* out) {
  const float d = HalfAt(block);
  for (int n = 0; n < 32; ++n) out[n] = d * static_cast<float>(FourBits(block + 2, n, 16) - 8);
}

template <>
void DequantizeBlock<GgmlType::kQ4_1>(Bytes block, float* out) {
  const float d = HalfAt(block);
  const float m = HalfAt(block + 2);
  for (int n = 0; n < 32; ++n) out[n] = d * static_cast<float>(FourBits(block + 4, n, 16)) + m;
}

// Five bits: the highest is bit n of `high`.
int FiveBits(uint32_t high, Bytes low, int n) {
  return FourBits(low, n, 16) | static_cast<int>(high >> n & 1) << 4;
}

template <>
void DequantizeBlock<GgmlType::kQ5_0>(Bytes block, float* out) {
  const float d = HalfAt(block);
  const uint32_t high = WordAt(block + 2);
  for (int n = 0; n < 32; ++n) {
    out[n] = d * static_cast<float>(FiveBits(high, block + 6, n) - 16);
  }
}

template <>
void DequantizeBlock<GgmlType::kQ5_1>(Bytes block, float* out) {
  const float d = HalfAt(block);
  const float m = HalfAt(block + 2);
  const uint32_t high = WordAt(block + 4);
  for (int n = 0; n < 32; ++n) {
    out[n] = d * static_cast<float>(FiveBits(high, block + 8, n)) + m;
  }
}

template <>
void DequantizeBlock<GgmlType::kQ8_0>(Bytes block, float* out) {
  const float d = HalfAt(block);
  for (int n = 0; n < 32; ++n) out[n] = d * static_cast<float>(static_cast<int8_t>(block[2 + n]));
}

// ---- Blocks of 256

// The scales of eight runs of 32 numbers, six bits each, in 12 bytes. Bytes 0 to 3 and 4 to 7 hold
// the s and the t of the first four runs, and in their two highest bits those of the last four,
// whose lower bits are in bytes 8 to 11: s in the lower halves, t in the upper.
struct RunScales {
  float d;  // d s
  float m;  // m t
};

RunScales ScalesOfRun(Bytes block, int run) {
  const Bytes packed = block + 4;
  int s = 0;
  int t = 0;
  if (run < 4) {
    s = packed[run] & 0x3F;
    t = packed[run + 4] & 0x3F;
  } else {
    s = (packed[run + 4] & 0x0F) | packed[run - 4] >> 6 << 4;
    t = packed[run + 4] >> 4 | packed[run] >> 6 << 4;
  }
  return {.d = HalfAt(block) * static_cast<float>(s),
          .m = HalfAt(block + 2) * static_cast<float>(t)};
}

template <>
void DequantizeBlock<GgmlType::kQ4_K>(Bytes block, float* out) {
  for (int run = 0; run < 8; ++run) {
    const RunScales scales = ScalesOfRun(block, run);
    const Bytes low = block + 16 + run / 2 * 32;
    const int shift = run % 2 * 4;
    for (int n = 0; n < 32; ++n) {
      const int q = low[n] >> shift & 0x0F;
      out[32 * run + n] = scales.d * static_cast<float>(q) - scales.m;
    }
  }
}

template <>
void DequantizeBlock<GgmlType::kQ5_K>(Bytes block, float* out) {
  const Bytes high = block + 16;  // bit `run` of byte n
  for (int run = 0; run < 8; ++run) {
    const RunScales scales = ScalesOfRun(block, run);
    const Bytes low = block + 48 + run / 2 * 32;
    const int shift = run % 2 * 4;
    for (int n = 0; n < 32; ++n) {
      const int q = (low[n] >> shift & 0x0F) | (high[n] >> run & 1) << 4;
      out[32 * run + n] = scales.d * static_cast<float>(q) - scales.m;
    }
  }
}

template <>
void DequantizeBlock<GgmlType::kQ6_K>(Bytes block, float* out) {
  const Bytes scales = block + 192;
  const float d = HalfAt(block + 208);
  for (int run = 0; run < 8; ++run) {  // of 32; four runs share 64 low and 32 high bytes
    const Bytes low = block + run / 4 * 64 + run % 2 * 32;
    const Bytes high = block + 128 + run / 4 * 32;
    const int low_shift = run % 4 / 2 * 4;
    const int high_shift = run % 4 * 2;
    for (int n = 0; n < 32; ++n) {
      const int q = (low[n] >> low_shift & 0x0F) | (high[n] >> high_shift & 3) << 4;
      const auto s = static_cast<int8_t>(scales[2 * run + n / 16]);
      out[32 * run + n] = d * static_cast<float>(s) * static_cast<float>(q - 32);
    }
  }
}

// ----

template <GgmlType kType, int kBytes, int kNumbers>
void DequantizeBlocks(const std::byte* blocks, int64_t count, float* out) {
  const auto* block = reinterpret_cast<Bytes>(blocks);
  for (int64_t i = 0; i < count; ++i)
    DequantizeBlock<kType>(block + i * kBytes, out + i * kNumbers);
}

struct Row {
  GgmlType type;
  GgufDequantizer dequantize;
};

constexpr std::array<Row, 8> kRows = {{
    {GgmlType::kQ4_0, DequantizeBlocks<GgmlType::kQ4_0, 18, 32>},
    {GgmlType::kQ4_1, DequantizeBlocks<GgmlType::kQ4_1, 20, 32>},
    {GgmlType::kQ5_0, DequantizeBlocks<GgmlType::kQ5_0, 22, 32>},
    {GgmlType::kQ5_1, DequantizeBlocks<GgmlType::kQ5_1, 24, 32>},
    {GgmlType::kQ8_0, DequantizeBlocks<GgmlType::kQ8_0, 34, 32>},
    {GgmlType::kQ4_K, DequantizeBlocks<GgmlType::kQ4_K, 144, 256>},
    {GgmlType::kQ5_K, DequantizeBlocks<GgmlType::kQ5_K, 176, 256>},
    {GgmlType::kQ6_K, DequantizeBlocks<GgmlType::kQ6_K, 210, 256>},
}};

}  // namespace

GgufDequantizer FindGgufDequantizer(GgmlType type) {
  for (const Row& row : kRows) {
    if (row.type == type) return row.dequantize;
  }
  return nullptr;
}

}  // namespace coppice
