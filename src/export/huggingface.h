// Writes a model as a Hugging Face folder: config.json, model.safetensors, and the
// source folder's other files unchanged; for a family without a stock class the Python file that
// loads it. Of a model from a GGUF file, tokenizer.json and tokenizer_config.json are made of its
// vocabulary.
#pragma once

#include <filesystem>
#include <string>

#include "model/model.h"

namespace coppice {

// Fills the empty folder `folder`. Throws Error (kEnvironment) when the disk fails.
void WriteHuggingFace(const Model& model, const std::filesystem::path& folder);

// Why the folder of a model from a GGUF file gets no tokenizer; empty where it does.
std::string TokenizerProblem(const Model& model);

}  // namespace coppice
