// The names of LLaMA's tensors in GGUF files and in Hugging Face folders.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace coppice {

// "blk.3.attn_q.weight" to "model.layers.3.self_attn.q_proj.weight" and back; empty for a name that
// is not known.
std::string HuggingFaceName(const std::string& gguf_name);
std::string GgufName(const std::string& hugging_face_name);

// Whether the rows of this tensor (Hugging Face name) are rotated: queries and keys.
bool IsRotated(const std::string& hugging_face_name);

// Adds what a layer without heads or channels needs not to store: projections of no rows or columns
// and norms of ones, by the config's "coppice" block.
void AddEmptyTensors(const nlohmann::ordered_json& config,
                     std::map<std::string, at::Tensor>* tensors);

}  // namespace coppice
