// Byte-level byte-pair encoding, as in GPT-2 and RoBERTa. A word starts as one symbol a byte; as
// long as any two neighbours form a known pair, the pair of lowest rank is joined, the leftmost
// first.
//
// The file spells a byte as one printable character (a space as U+0120); words come here as plain
// bytes, so only the tables are translated. Most words of a text are tokens of the vocabulary:
// those that the merges do form are remembered at load, which takes the place of a cache that would
// have to be locked.
#pragma once

#include <array>
#include <memory>

#include "tokenize/json_node.h"
#include "tokenize/tokenizer_model.h"

namespace coppice {

// The character that spells each byte.
std::array<char32_t, 256> ByteAlphabet();

// Reads the "model" section of a tokenizer.json whose type is BPE.
std::unique_ptr<TokenizerModel> ReadByteBpe(const JsonNode& node);

}  // namespace coppice
