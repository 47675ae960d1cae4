// What happens to a normalised text before the model sees it: perhaps a space in front of it, its
// spaces made visible, and the cuts into words (word_split.h), one split after the other.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/aligned_text.h"
#include "tokenize/json_node.h"
#include "tokenize/word_split.h"

namespace coppice {

// Where a space is put in front of a stretch of text that has none: nowhere, at the beginning of
// the whole text, or also behind every added token.
enum class SpaceInFront { kNever, kFirst, kAlways };

// Metaspace, in a pre-tokenizer and in a decoder.
struct Metaspace {
  std::string mark;  // stands for a space
  SpaceInFront in_front = SpaceInFront::kAlways;
  bool split = true;
};
Metaspace ReadMetaspace(const JsonNode& node);

struct PreTokenizer {
  std::string space = " ";  // what a space becomes
  SpaceInFront in_front = SpaceInFront::kNever;
  std::vector<WordSplit> splits = {};
  bool byte_level = false;  // the model's symbols are bytes, not characters

  // Appends the words of `text` (valid UTF-8), in order, none of them empty.
  void Cut(std::string_view text, std::vector<ByteRange>& words) const;
  // `text` (not empty) with its spaces replaced and one in front; nothing if it stays as it is.
  std::optional<AlignedText> MarkSpaces(AlignedView text) const;
};

// Read "pre_tokenizer": BertPreTokenizer; or what BPE models have, which is nothing, Metaspace, or
// ByteLevel behind any number of Digits and Split.
PreTokenizer ReadBertPreTokenizer(const JsonNode& root);
PreTokenizer ReadBpePreTokenizer(const JsonNode& root);

}  // namespace coppice
