// A Hugging Face folder as it lies on disk: config.json, one model.safetensors or a sharded index,
// and the files that are passed on unread (tokenizer, chat template, generation config).
//
// Untrusted throughout: shard names in an index must be plain file names, every mapped tensor must
// be in its shard, and a tensor of a shard that the index does not map is refused (the two do not
// belong together). When a name lies in two shards, the one the index maps it to counts. Equal keys
// twice in config.json or the index are refused. Links to files are followed; subfolders and hidden
// files are not looked at. Nothing about architectures here: src/model reads the config.
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
  // config.json as read, key order kept.
  nlohmann::ordered_json config;
  // Every tensor, memory-mapped, in the dtype of the file.
  std::map<std::string, at::Tensor> tensors;
  // The safetensors files, sorted.
  std::vector<std::filesystem::path> weight_files;
  // Files to copy unchanged, sorted: tokenizer.json, vocab.txt, ... Neither weights in any format
  // nor what is written anew: config.json, coppice.json, report.html, modeling_coppice.py.
  std::vector<std::filesystem::path> passthrough;
};

// Reads `folder`. Tries model.safetensors, then model.safetensors.index.json; a folder with only
// pytorch_model.bin is refused with a hint. Throws Error (kBadInput).
Checkpoint LoadCheckpoint(const std::filesystem::path& folder);

}  // namespace coppice
