// A model and the tokenizer that belongs to it, from wherever they lie.
#pragma once

#include <filesystem>
#include <vector>

#include "model/model.h"
#include "tokenize/tokenizer.h"

namespace coppice {

struct Source {
  Model model;
  Tokenizer tokenizer;
};

// Reads a Hugging Face folder with its tokenizer.json, or a GGUF file with its vocabulary. Throws
// Error (kBadInput).
Source OpenSource(const std::filesystem::path& path);

// Throws Error (kUsage) where the folder `out`, which --force replaces, is or holds one of
// `inputs`; empty ones are left out.
void RefuseToReplace(const std::vector<std::filesystem::path>& inputs,
                     const std::filesystem::path& out);

// The ONNX file that a path stands for: itself, or model.onnx of a folder that holds no weights in
// another form. Empty for anything else.
std::filesystem::path FindOnnxFile(const std::filesystem::path& path);

// What config.json beside an ONNX file says of its inputs, 0 where it says nothing.
struct OnnxInputs {
  int64_t vocabulary = 0, max_tokens = 0, pad_id = 0, token_types = 0;
};

OnnxInputs ReadOnnxInputs(const std::filesystem::path& file);

// The tokenizer alone, of a model that is loaded.
Tokenizer LoadTokenizer(const Model& model);

}  // namespace coppice
