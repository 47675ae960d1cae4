// The cut of a normalised text into words, before the model sees it: where BERT cuts (white space
// is dropped, every punctuation mark stands alone) and where GPT-2 cuts (white space stays with the
// word behind it).
#pragma once

#include <string_view>
#include <vector>

#include "tokenize/aligned_text.h"
#include "tokenize/json_node.h"

namespace coppice {

struct PreTokenizer {
  // Puts a space in front of each stretch that has none.
  bool add_prefix_space = false;
  // Appends the words of `text` (valid UTF-8), in order, none of them empty.
  void (*split)(std::string_view text, std::vector<ByteRange>& words) = nullptr;
};

PreTokenizer ReadBertPreTokenizer(const JsonNode& node);
PreTokenizer ReadByteLevelPreTokenizer(const JsonNode& node);

void SplitAsBert(std::string_view text, std::vector<ByteRange>& words);
void SplitAsGpt2(std::string_view text, std::vector<ByteRange>& words);

}  // namespace coppice
