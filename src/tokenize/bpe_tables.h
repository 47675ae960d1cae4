// What a BPE model is made of, whichever file it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "tokenize/bpe_merge.h"
#include "tokenize/json_node.h"
#include "tokenize/vocabulary.h"

namespace coppice {

struct BpeTables {
  Vocabulary vocabulary;
  MergeTable merges;
  std::optional<int32_t> unknown = {};  // the token of what has none; without it, that is left out
  bool fuse_unknown = false;            // one token for a run of such
  bool byte_fallback = false;           // a character without a token becomes its bytes, <0x00> ...
  bool ignore_merges = false;           // a word that is a token is it, whatever the merges form
};

// The two tokens of a merge.
struct MergePair {
  std::string_view left;
  std::string_view right;
};
// Reads "left right"; nothing if it is anything else.
std::optional<MergePair> ReadMergePair(std::string_view text);

// Adds a merge to the tables; returns what is wrong if a token is missing.
std::optional<Problem> AddMerge(MergePair pair, int32_t rank, BpeTables& tables);

// Reads the "model" section of a tokenizer.json whose type is BPE.
BpeTables ReadBpeTables(const JsonNode& node);

}  // namespace coppice
