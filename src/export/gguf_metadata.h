// The metadata of a model's GGUF file that does not depend on its layers' sizes: names, rotation,
// vocabulary, special tokens, chat template.
#pragma once

#include <filesystem>

#include "load/gguf_header.h"
#include "model/model.h"

namespace coppice {

// Of a model that was read from a GGUF file, that file's. Of a folder, made of its config.json,
// tokenizer.json and tokenizer_config.json (special tokens, chat template; also
// chat_template.jinja). `vocabulary`, a GGUF file of the same tokenizer, replaces all keys
// "tokenizer.*"; it may be empty. Call it early: it throws all that can be wrong with a vocabulary,
// as Error (kBadInput), and Error (kUsage) for a family without a GGUF form.
GgufMetadata MakeGgufMetadata(const Model& model, const std::filesystem::path& vocabulary);

}  // namespace coppice
