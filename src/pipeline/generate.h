// The job of drawing images from a model into a file of tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/console.h"
#include "model/image_sampling.h"

namespace coppice {

struct GenerateOptions {
  std::filesystem::path model = {};
  std::filesystem::path out = {};                    // a .safetensors file
  bool replace = false;                              // --force
  std::optional<std::vector<int64_t>> classes = {};  // all without it
  int64_t per_class = 1;
  ImageSampling sampling = {};
  uint64_t seed = 0;
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;
};

struct GenerateReport {
  int64_t images = 0;
  int64_t tokens = 0;
  double seconds = 0;  // of drawing alone
  std::string device, dtype;
};

// Throws Error; writes the file whole or not at all (load/image_tokens.h has its form).
GenerateReport Generate(const GenerateOptions& options, const Console& console);

}  // namespace coppice
