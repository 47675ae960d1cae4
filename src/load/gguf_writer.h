// Writes a GGUF file, version 3: metadata as given, tensors converted to the types asked for. Other
// quantised types than Q8_0 are read only.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "load/gguf_header.h"

namespace coppice {

struct GgufTensor {
  std::string name;
  at::Tensor tensor;  // of floating point, any device and strides
  GgmlType type =
      GgmlType::kF32;  // F32, F16, BF16, or Q8_0 where the last size is a multiple of 32
};

// Writes `metadata` and `tensors` in the order given. A general.alignment in `metadata` is obeyed;
// it is 32 otherwise. Tensors are converted in slices along their first dimension, so that little
// more than the largest slice is in memory at once, and stream into a temporary file in the same
// folder, which is fsynced and renamed over `file`. Same input, same bytes. Throws Error
// (kEnvironment) and leaves nothing behind when the disk fails, Error (kBadInput) when a number is
// too large for its tensor's type.
void WriteGguf(const std::filesystem::path& file, const GgufMetadata& metadata,
               const std::vector<GgufTensor>& tensors);

}  // namespace coppice
