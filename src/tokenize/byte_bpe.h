// Byte-level byte-pair encoding, as in GPT-2, RoBERTa and Llama 3: a word starts as one symbol a
// byte.
//
// The file spells a byte as one printable character (a space as U+0120); words come here as plain
// bytes, so only the tables are translated. Most words of a text are tokens of the vocabulary:
// those that the merges do form are remembered at load, which takes the place of a cache that would
// have to be locked.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tokenize/bpe_tables.h"
#include "tokenize/tokenizer_model.h"

namespace coppice {

// The character that spells each byte.
std::array<char32_t, 256> ByteAlphabet();

// The bytes that a token (valid UTF-8) spells; nothing if it has a character that spells none.
class ByteSpelling {
 public:
  ByteSpelling();
  std::optional<std::string> Bytes(std::string_view token) const;

 private:
  std::array<int16_t, 0x144> bytes_;  // by character; -1: none
};

// Without byte_fallback, since a byte that has no token has no other way to be one.
std::unique_ptr<TokenizerModel> MakeByteBpe(BpeTables tables);

}  // namespace coppice
