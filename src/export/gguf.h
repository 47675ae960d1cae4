// Writes a model as one GGUF file.
#pragma once

#include <filesystem>
#include <string>

#include "load/gguf_types.h"
#include "model/model.h"

namespace coppice {

// "f32", "f16", "bf16" or "q8_0"; throws Error (kUsage) for another name.
GgmlType ParseGgufType(const std::string& name);

// model.gguf in `folder`, with the vocabulary of the GGUF file `vocabulary`, or, without one, the
// model's own (gguf_metadata.h). Throws Error (kUsage) for a model that has no GGUF form, Error
// (kBadInput) for a vocabulary that cannot be used.
void WriteGgufModel(const Model& model, GgmlType type, const std::filesystem::path& folder,
                    const std::filesystem::path& vocabulary = {});

}  // namespace coppice
