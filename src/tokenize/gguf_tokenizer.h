// A tokenizer from the vocabulary in a GGUF file's metadata (keys tokenizer.ggml.*).
//
// Model gpt2 is byte-level BPE with merges; `pre` names the way of cutting words. Model llama
// is SentencePiece's BPE, which has scores for tokens in the place of merges: of all neighbours
// whose concatenation is a token, those of the best score are joined, the leftmost first. Control,
// unknown, byte and unused tokens are never formed that way.
//
// Ids are those of the tokenizer.json that the file was made from, where that differs from what
// llama.cpp does: control, unknown and user-defined tokens are found in the text (as llama.cpp does
// when told to parse special tokens), the leftmost first and of those the longest; qwen2 composes
// characters (NFC). `pre` default is llama.cpp's own. A byte without a token is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tokenize/tokenizer.h"

namespace coppice {

// Token types of the format.
enum GgufTokenType : int32_t {
  kNormalToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserDefinedToken = 4,
  kUnusedToken = 5,
  kByteToken = 6,
};

// What the file says; one entry an id in the lists, but for merges. An absent flag takes the
// model's default, as in llama.cpp.
struct GgufVocabulary {
  std::string model = {};                 // gpt2 or llama
  std::string pre = {};                   // of gpt2; empty, which is as default: warn the user
  std::vector<std::string> tokens = {};   // UTF-8
  std::vector<int32_t> token_types = {};  // empty: all normal
  std::vector<float> scores = {};         // of llama
  std::vector<std::string> merges = {};   // of gpt2: two tokens and a space between
  std::optional<int32_t> bos = {};
  std::optional<int32_t> eos = {};
  std::optional<int32_t> unk = {};  // used by llama alone
  std::optional<int32_t> pad = {};
  std::optional<bool> add_bos = {};           // default: llama, and gpt2 with pre llama-bpe
  std::optional<bool> add_eos = {};           // default: never
  std::optional<bool> add_space_prefix = {};  // default: llama
};

// Throws Error (kBadInput) naming `where`, the file, if the vocabulary is of an unknown kind or
// does not fit together.
Tokenizer MakeGgufTokenizer(const GgufVocabulary& vocabulary, const std::string& where);

}  // namespace coppice
