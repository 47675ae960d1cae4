// The part of a tokenizer that turns words into ids. A word is what the pre-tokenizer cut out of
// the normalised text: a whole stretch between two cuts, without added tokens. A family that does
// not cut (SentencePiece) gets the whole stretch as one word.
//
// Implementations are immutable once made, and Tokenize() may be called concurrently.
#pragma once

#include <string_view>
#include <vector>

#include "tokenize/tokenizer.h"
#include "tokenize/vocabulary.h"

namespace coppice {

class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;

  // Appends the tokens of `word` (valid UTF-8, not empty); offsets are bytes of `word`, and no
  // token is empty.
  virtual void Tokenize(std::string_view word, std::vector<Token>& tokens) const = 0;

  virtual const Vocabulary& vocabulary() const = 0;
};

}  // namespace coppice
