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
#include <unordered_set>
#include <vector>

#include "tokenize/aligned_text.h"
#include "tokenize/json_node.h"
#include "tokenize/normalizer.h"
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

// An added token, as a file describes it.
struct AddedToken {
  std::string text;  // not empty
  int32_t id = 0;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // No two tokens share a text or an id, and none normalises to nothing.
  AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer);
  // Reads "added_tokens". Their ids must be those that the tokenizers library gives: the model's
  // own, or the next free ones.
  static AddedTokens Read(const JsonNode& root, const Vocabulary& model,
                          const Normalizer& normalizer);

  const AddedTokenFinder& in_given_text() const { return in_given_text_; }
  const AddedTokenFinder& in_normalized_text() const { return in_normalized_text_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  bool IsSpecial(int32_t id) const { return special_.contains(id); }

 private:
  Vocabulary vocabulary_;
  std::unordered_set<int32_t> special_;
  AddedTokenFinder in_given_text_;
  AddedTokenFinder in_normalized_text_;
};

}  // namespace coppice
