// Byte-pair encoding as in SentencePiece (LLaMA 1 and 2, Mistral): a text, its spaces written as
// U+2581, starts as one symbol a character. A character without a token becomes its bytes' tokens
// (<0x00> to <0xFF>) where the vocabulary has them and byte_fallback is set, and unknown otherwise.
//
// The text is one long word. Where no merge reaches over the beginning of a word, which is nearly
// always so, words are joined one by one all the same: no id changes, and those that are one token
// need not be joined at all.
#pragma once

#include <memory>

#include "tokenize/bpe_tables.h"
#include "tokenize/tokenizer_model.h"

namespace coppice {

// Without ignore_merges.
std::unique_ptr<TokenizerModel> MakeSentenceBpe(BpeTables tables);

}  // namespace coppice
