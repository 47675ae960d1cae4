// BERT's clean-up of a text: control characters leave and white space becomes a space, ideographs
// get spaces around them, accents are stripped (canonical decomposition, then non-spacing marks
// leave), and letters become lower case; each step can be off.
#pragma once

#include <cstdint>
#include <string_view>

#include "tokenize/aligned_text.h"
#include "tokenize/json_node.h"
#include "tokenize/unicode.h"

namespace coppice {

class BertNormalizer {
 public:
  // Reads a component of type BertNormalizer.
  explicit BertNormalizer(const JsonNode& node);

  // `text` is valid UTF-8 and starts at byte `origin` of the original text.
  AlignedText Normalize(std::string_view text, uint32_t origin) const;

 private:
  class Writer;

  bool clean_text_;
  bool space_ideographs_;
  bool strip_accents_;
  bool lower_case_;
  CanonicalDecomposer decomposer_;
};

}  // namespace coppice
