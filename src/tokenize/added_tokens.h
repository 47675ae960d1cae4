// Tokens that are found in the text before the model sees it, such as "[MASK]". Those with
// `normalized` false are found in the text as given; the others, themselves normalised, in the
// normalised rest. Where several begin at one place the longest counts; matches never overlap.
//
// A token may ask to stand alone (single_word) and may take the white space on its sides with it
// (lstrip, rstrip).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/aligned_text.h"
#include "tokenize/bert_normalizer.h"
#include "tokenize/json_node.h"
#include "tokenize/vocabulary.h"

namespace coppice {

// A stretch of text: an added token, or text between them.
struct TextPart {
  ByteRange range;
  std::optional<int32_t> added_token;
};

// Finds a set of added tokens in a text.
class AddedTokenFinder {
 public:
  struct Pattern {
    std::string text;
    int32_t id = 0;
    bool single_word = false;
    bool lstrip = false;
    bool rstrip = false;
  };

  AddedTokenFinder() = default;
  // Of equal texts the first counts.
  explicit AddedTokenFinder(std::vector<Pattern> patterns);

  // The parts of `text` in order; empty parts are left out.
  std::vector<TextPart> Split(std::string_view text) const;

 private:
  const Pattern* LongestAt(std::string_view text, size_t position) const;

  std::vector<Pattern> patterns_;          // by first byte, then the longest first
  std::array<ByteRange, 256> by_first_{};  // the patterns that begin with each byte
};

class AddedTokens {
 public:
  // Reads "added_tokens". Their ids must be those that the tokenizers library gives: the model's
  // own, or the next free ones. `normalizer` may be null.
  AddedTokens(const JsonNode& root, const Vocabulary& model, const BertNormalizer* normalizer);

  const AddedTokenFinder& in_given_text() const { return in_given_text_; }
  const AddedTokenFinder& in_normalized_text() const { return in_normalized_text_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  void AddId(const JsonNode& node, const std::string& content, const Vocabulary& model);

  Vocabulary vocabulary_;
  AddedTokenFinder in_given_text_;
  AddedTokenFinder in_normalized_text_;
};

}  // namespace coppice
