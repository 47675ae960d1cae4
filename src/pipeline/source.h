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

// The tokenizer alone, of a model that is loaded.
Tokenizer LoadTokenizer(const Model& model);

}  // namespace coppice
