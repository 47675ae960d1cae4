// The way from a tokenizer.json to the vocabulary that a GGUF file holds (gguf_tokenizer.h is the
// way back), for language models: byte-level BPE whose way of cutting words has a name among
// GGUF's, and SentencePiece's BPE, whose merges must be those that scores of tokens give.
//
// What the format cannot say is refused: a guess would change ids silently.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "tokenize/gguf_tokenizer.h"

namespace coppice {

// Tokens, types, merges or scores, and what is put around a text (bos, eos and whether they are
// added); no other special token. Ids without a token become unused ones, "[PAD7]". Throws Error
// (kBadInput) naming the file and what cannot be said.
GgufVocabulary ReadGgufVocabulary(const std::filesystem::path& tokenizer_json);

// The same for a text in memory; `name` stands for the file in errors.
GgufVocabulary ParseGgufVocabulary(std::string_view json, const std::string& name);

}  // namespace coppice
