// Writes an encoder as ONNX, which ONNX Runtime and what builds on it run at any shape.
#pragma once

#include <filesystem>

#include "export/onnx_layers.h"
#include "export/onnx_writer.h"
#include "model/model.h"

namespace coppice {

// Throws Error (kUsage) for a language model.
void RequireOnnxForm(const Model& model);

// model.onnx in `folder`, with model.onnx_data where it is large, config.json and the source
// folder's other files. Throws as RequireOnnxForm() does, and Error (kEnvironment) when the disk
// fails.
void WriteOnnx(const Model& model, OnnxStyle style, const std::filesystem::path& folder,
               uint64_t external_above = kOnnxExternalAbove);

}  // namespace coppice
