// LLaMA-family models in GGUF: architectures "llama" (all layers alike) and "deci" (each layer its
// own sizes). Names, keys and the order of query and key rows differ from the Hugging Face form,
// which is ours.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "load/gguf.h"
#include "load/gguf_writer.h"
#include "model/model.h"

namespace coppice {

// Tensors under their Hugging Face names, quantised ones as float32, and a config that says the
// same as the file's keys.
struct GgufParts {
  nlohmann::ordered_json config;
  std::map<std::string, at::Tensor> tensors;
};

// Throws Error (kBadInput) for an architecture, key or tensor that is not known.
GgufParts ReadLlamaGguf(const GgufFile& file, const std::string& where);

struct GgufContents {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;
};

// The model as a GGUF file holds it, its matrices in `type` (F16 where rows do not fit a quantised
// type's blocks), norms and biases in F32. Keys that do not depend on sizes are copied from
// model.gguf, which must be there: tokenizer, chat template, names. Throws Error (kUsage) for sizes
// that stock programs cannot run: no KV group in layer 0, no channel beside live attention or in
// the last layer.
GgufContents MakeLlamaGguf(const Model& model, GgmlType type);

// Whether the model's family has a GGUF form.
bool HasGgufForm(const ModelSpec& spec);

// The keys that a file of the model has for what does not depend on its layers' sizes, but for the
// vocabulary: what model.gguf would hold of a model that was not read from one.
GgufMetadata LlamaGgufKeys(const Model& model);

}  // namespace coppice
