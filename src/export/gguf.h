// Writes a model as one GGUF file.
#pragma once

#include <filesystem>
#include <string>

#include "load/gguf_types.h"
#include "model/model.h"

namespace coppice {

// "f32", "f16", "bf16" or "q8_0"; throws Error (kUsage) for another name.
GgmlType ParseGgufType(const std::string& name);

// model.gguf in `folder`. Throws Error (kUsage) for a model that has no GGUF form.
void WriteGgufModel(const Model& model, GgmlType type, const std::filesystem::path& folder);

}  // namespace coppice
