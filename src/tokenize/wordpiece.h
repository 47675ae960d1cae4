// WordPiece: a word is cut from left to right, each time by the longest piece of the vocabulary;
// pieces behind the first carry a prefix ("##") there. A word that cannot be cut to its end, or is
// too long, becomes one unknown token.
#pragma once

#include <memory>

#include "tokenize/json_node.h"
#include "tokenize/tokenizer_model.h"

namespace coppice {

// Reads the "model" section of a tokenizer.json whose type is WordPiece.
std::unique_ptr<TokenizerModel> ReadWordPiece(const JsonNode& node);

}  // namespace coppice
