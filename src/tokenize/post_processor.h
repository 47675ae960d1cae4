// What is put around the tokens of one text or of a pair, and the type id of each part. Every kind
// of post-processor becomes two templates, lists of pieces, and perhaps the wish to leave white
// space at a token's ends out of its offsets.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tokenize/json_node.h"
#include "tokenize/tokenizer.h"

namespace coppice {

struct TemplatePiece {
  int8_t sequence = -1;  // 0 or 1: the tokens of that text; -1: the special token `id`
  int32_t id = 0;
  int32_t type_id = 0;
};
using Template = std::vector<TemplatePiece>;

// White space at the two ends of a token, in characters.
struct TokenSpaces {
  uint32_t leading = 0;
  uint32_t trailing = 0;
};
// Counts it in a token's spelling, where U+0120 is a space too.
TokenSpaces CountSpaces(std::string_view spelling);

struct PostProcessor {
  Template single;
  Template pair;
  bool trim_offsets = false;
  // With trim_offsets: one leading space of the first token was added, so it is not in the text.
  bool add_prefix_space = false;

  Encoding Assemble(std::span<const Token> first,
                    std::optional<std::span<const Token>> second) const;

  // Takes the white space at a token's ends, which `spaces` counts, out of its offsets into `text`.
  void Trim(std::string_view text, TokenSpaces spaces, bool first, Token& token) const;
};

// Puts a token in front of each text and one behind it; of a pair, the second text has type id 1.
PostProcessor MakePostProcessor(std::optional<int32_t> bos, std::optional<int32_t> eos);

// Reads "post_processor"; without one, texts follow each other with type ids 0 and 1.
PostProcessor ReadPostProcessor(const JsonNode& root);

}  // namespace coppice
