// The JSON header of a safetensors file, checked as a whole: after ReadSafetensorsHeader() every
// tensor lies inside the data, has the size its dtype and shape ask for, and shares no byte with
// another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "load/safetensors.h"

namespace coppice {

inline constexpr uint64_t kMaxHeaderBytes = 100000000;  // the format's own limit
inline constexpr size_t kMaxTensors = 100000;           // ours; real shards hold thousands
inline constexpr size_t kMaxTensorRank = 16;
inline constexpr size_t kMaxTensorName = 1024;  // bytes

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // bytes from the start of the file
};

// Reads the header of `bytes`, the whole of `file` (which is named in messages only). Throws Error
// (kBadInput).
SafetensorsHeader ReadSafetensorsHeader(std::span<const std::byte> bytes,
                                        const std::filesystem::path& file);

}  // namespace coppice
