// Writes a model as a Hugging Face folder: config.json, model.safetensors (or shards), and the
// source folder's other files unchanged; for a family without a stock class the Python file that
// loads it.
#pragma once

#include <filesystem>

#include "model/model.h"

namespace coppice {

// Fills the empty folder `folder`. Throws Error (kEnvironment) when the disk fails.
void WriteHuggingFace(const Model& model, const std::filesystem::path& folder);

}  // namespace coppice
