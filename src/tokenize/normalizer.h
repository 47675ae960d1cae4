// What is done to a text before it is cut into words: steps, one after the other. BERT's clean-up
// is one; the language models compose characters (NFC), or put a mark in front of the text and in
// the place of every space (SentencePiece's U+2581).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenize/aligned_text.h"
#include "tokenize/bert_normalizer.h"
#include "tokenize/canonical_composer.h"
#include "tokenize/json_node.h"

namespace coppice {

class Normalizer {
 public:
  struct Prepend {
    std::string text;
  };
  struct Replace {
    std::string pattern;  // not empty
    std::string content;
  };
  using Step = std::variant<BertNormalizer, CanonicalComposer, Prepend, Replace>;

  // Without steps it changes nothing. A BertNormalizer stands alone.
  explicit Normalizer(std::vector<Step> steps = {});
  // Reads "normalizer".
  static Normalizer Read(const JsonNode& root);

  // `text` is valid UTF-8 and starts at byte `origin` of the original text.
  AlignedText Normalize(std::string_view text, uint32_t origin) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace coppice
