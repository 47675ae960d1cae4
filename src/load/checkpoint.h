// A Hugging Face folder as it lies on disk: config.json, one model.safetensors or a sharded index, and the
// files that are passed on unread (tokenizer, chat template, generation config).
//
// Untrusted throughout: shard names in an index must be plain file names, every mapped tensor must be in
// its shard, and a tensor of a shard that the index does not map is refused (the two do not belong
// together). When a name lies in two shards, the one the index maps it to counts. Equal keys twice in
// config.json or the index are refused. Links to files are followed; subfolders and hidden files are not
// looked at. Nothing about architectures here: src/model reads the config.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "load/safetensors.h"

namespace coppice {

struct Checkpoint {
  std::filesystem::path folder;
  nlohmann::ordered_json config;               // config.json as read, key order kept
  std::map<std::string, at::Tensor> tensors;   // every tensor, memory-mapped, in the dtype of the file
  std::vector<std::filesystem::path> weight_files;  // the safetensors files, sorted
  std::vector<std::filesystem::path> passthrough;  // files to copy unchanged: tokenizer.json, vocab.txt, ...
};

// Reads `folder`. Tries model.safetensors, then model.safetensors.index.json; a folder with only
// pytorch_model.bin is refused with a hint. Throws Error (kBadInput).
Checkpoint LoadCheckpoint(const std::filesystem::path& folder);

}  // namespace coppice
