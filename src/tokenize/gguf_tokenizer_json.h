// The way from the vocabulary in a GGUF file to a tokenizer.json, which Hugging Face's tokenizers
// and coppice read: the same ids for every text as MakeGgufTokenizer() gives (gguf_vocabulary.h is
// the way back).
//
// Every token stands in the model's vocabulary, added ones too, so that ids are those of the file.
// Some ways of cutting words have no tokenizer.json that both read (`pre` default).
#pragma once

#include <string>

#include "tokenize/gguf_tokenizer.h"

namespace coppice {

struct TokenizerJson {
  std::string text;     // of tokenizer.json; empty where there is a problem
  std::string problem;  // what cannot be written, in a few words
};

// Throws Error (kBadInput) as MakeGgufTokenizer() does, for a vocabulary that is none.
TokenizerJson MakeTokenizerJson(const GgufVocabulary& vocabulary, const std::string& where);

// tokenizer_config.json, by which transformers knows the special tokens. chat_template may be
// empty.
std::string MakeTokenizerConfig(const GgufVocabulary& vocabulary, int64_t max_tokens,
                                const std::string& chat_template);

}  // namespace coppice
