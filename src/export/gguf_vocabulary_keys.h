// The vocabulary that a GGUF file's metadata holds (keys tokenizer.ggml.*).
#pragma once

#include <string>

#include "load/gguf_header.h"
#include "tokenize/gguf_tokenizer.h"

namespace coppice {

// Absent keys leave their fields empty; MakeGgufTokenizer() says what is missing.
GgufVocabulary VocabularyOf(const GgufMetadata& metadata);

// tokenizer.chat_template, or an empty text.
std::string ChatTemplateOf(const GgufMetadata& metadata);

}  // namespace coppice
