// A .safetensors file of images as token ids: "tokens" (N, grid * grid) and "classes" (N), both of
// an integer dtype. coppice writes int32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

namespace coppice {

struct ImageTokens {
  at::Tensor tokens;   // (N, grid * grid) int64
  at::Tensor classes;  // (N) int64
};

// What a model can read; classes from 0 to `classes`, the last being the null class.
struct ImageTokenLimits {
  int64_t grid = 0;
  int64_t vocabulary = 0;
  int64_t classes = 0;
};

// Throws Error (kBadInput) for a file without the two tensors or with others, for shapes, dtypes
// and numbers that the model cannot read.
ImageTokens ReadImageTokens(const std::filesystem::path& file, const ImageTokenLimits& limits);

// Writes the file whole or not at all. Throws Error (kEnvironment).
void WriteImageTokens(const std::filesystem::path& file, const ImageTokens& images);

}  // namespace coppice
