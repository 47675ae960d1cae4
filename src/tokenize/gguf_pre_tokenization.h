// The ways of cutting words that GGUF files name (tokenizer.ggml.pre). A name also says whether
// words that are tokens need no merges, whether a first token is added, and, for us, whether
// characters are composed.
#pragma once

#include <string_view>
#include <vector>

#include "tokenize/word_split.h"

namespace coppice {

struct PreTokenization {
  std::string_view name;
  std::vector<WordSplit> splits;  // one after the other
  bool ignore_merges = false;
  bool add_bos = false;
  bool compose = false;
};

// The one list; of several that do the same, the name to write comes first.
const std::vector<PreTokenization>& PreTokenizations();

// Null when the name is not known.
const PreTokenization* FindPreTokenization(std::string_view name);

}  // namespace coppice
