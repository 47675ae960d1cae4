// The types that tensors of GGUF files have: their numbers, names and block layouts' sizes. A type
// packs each run of `block` numbers of a row into `bytes` bytes; blocks never cross rows. The
// layouts themselves are in gguf_dequantize.h; formats we do not read are known by name and size,
// so that a file that holds them can be checked and the rest of it used.
#pragma once

#include <cstdint>
#include <string_view>

namespace coppice {

// The types we read; kF32, kF16, kBF16 and kQ8_0 are written too. The values are the file's own
// numbers, and a value may be one that has no name here.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;  // "Q4_K"
  uint64_t block;         // numbers in a block
  uint64_t bytes;         // bytes of a block
};

// The row of that type, or nullptr when there is none.
const GgmlTypeInfo* FindGgmlType(GgmlType type);

}  // namespace coppice
