// What a Tokenizer is made of, in the order of its work: read from a tokenizer.json here, or made
// from a GGUF file's vocabulary in gguf_tokenizer.h.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tokenize/added_tokens.h"
#include "tokenize/decoder.h"
#include "tokenize/json_node.h"
#include "tokenize/normalizer.h"
#include "tokenize/post_processor.h"
#include "tokenize/pre_tokenizer.h"
#include "tokenize/tokenizer_model.h"

namespace coppice {

struct TokenizerParts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenizerModel> model;
  AddedTokens added;
  PostProcessor post_processor;  // its ids are the model's or added ones
  Decoder decoder;
};

// The document of a tokenizer.json; `file` names it in errors.
nlohmann::json ParseTokenizerJson(std::string_view text, std::string_view file);

// Reads and checks a tokenizer.json.
TokenizerParts ReadTokenizerJson(const JsonNode& root);

}  // namespace coppice
