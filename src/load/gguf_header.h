// The header of a GGUF file, versions 2 and 3, checked as a whole: after ReadGgufHeader() every
// value of the metadata is whole, and every tensor lies inside the data, has the size its type and
// shape ask for, and shares no byte with another.
//
//   "GGUF", u32 version, u64 tensors, u64 values
//   each value:   key (u64 length, text), u32 type, value (load/gguf_value.h)
//   each tensor:  name (as a key), u32 dimensions, u64 size of each (the fastest first), u32 type
//                 (load/gguf_types.h), u64 offset from the start of the data
//   the data, from the next multiple of the alignment on: tensors in order, each padded to it
//
// Numbers are little-endian. The alignment is 32 unless the key general.alignment gives another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "load/gguf_types.h"
#include "load/gguf_value.h"

namespace coppice {

// What the format allows.
inline constexpr size_t kMaxGgufDimensions = 4;
inline constexpr size_t kMaxGgufTensorName = 63;  // bytes
inline constexpr size_t kMaxGgufKey = 65535;      // bytes
// What we allow; real files hold hundreds of tensors, tens of values, and megabytes in one.
inline constexpr uint64_t kMaxGgufTensors = 100000;
inline constexpr uint64_t kMaxGgufValues = 100000;
inline constexpr uint64_t kMaxGgufValueBytes = uint64_t{1} << 28;
inline constexpr int kMaxGgufArrayDepth = 4;  // arrays in arrays
inline constexpr uint64_t kMaxGgufAlignment = uint64_t{1} << 24;

inline constexpr const char* kGgufAlignmentKey = "general.alignment";  // U32, a power of two
inline constexpr uint64_t kGgufDefaultAlignment = 32;

// In the file's order, keys unique.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

struct GgufTensorInfo {
  std::string name;
  GgmlType type = GgmlType::kF32;  // known, but not always one we can read
  std::vector<int64_t> shape;      // row-major: the file's sizes from last to first
  uint64_t offset = 0;             // bytes from the start of the data
  uint64_t bytes = 0;              // without padding
};

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<GgufTensorInfo> tensors;  // in the file's order, names unique
  uint64_t data_begin = 0;              // bytes from the start of the file
};

// Reads the header of `bytes`, the whole of `file` (which is named in messages only). Throws Error
// (kBadInput).
GgufHeader ReadGgufHeader(std::span<const std::byte> bytes, const std::filesystem::path& file);

// The next multiple of `alignment`, a power of two; `size` is below 2^63.
uint64_t GgufPad(uint64_t size, uint64_t alignment);

}  // namespace coppice
