#include "tokenize/wordpiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace coppice {
namespace {

bool IsContinuationByte(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

size_t CountCodePoints(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuationByte(c); }));
}

// The longest beginning of `text` that is a key of `pieces`, none longer than `longest` bytes.
struct Match {
  size_t length = 0;  // 0: there is none
  int32_t id = 0;
};
Match LongestMatch(const TokenMap& pieces, size_t longest, std::string_view text) {
  for (size_t length = std::min(text.size(), longest); length > 0; --length) {
    if (length < text.size() && IsContinuationByte(text[length])) continue;
    const auto found = pieces.find(text.substr(0, length));
    if (found != pieces.end()) return {.length = length, .id = found->second};
  }
  return {};
}

class WordPiece : public TokenizerModel {
 public:
  explicit WordPiece(const JsonNode& node)
      : vocabulary_(Vocabulary::Read(node.Get("vocab"))),
        max_characters_(static_cast<size_t>(
            node.Get("max_input_chars_per_word").Number(std::numeric_limits<int32_t>::max()))) {
    const JsonNode unknown_node = node.Get("unk_token");
    const std::string& unknown = unknown_node.String();
    const std::optional<int32_t> id = vocabulary_.Find(unknown);
    if (!id) {
      unknown_node.Fail({.what = fmt::format("unknown token \"{}\" is not in the vocabulary",
                                             Printable(unknown))});
    }
    unknown_ = *id;

    const std::string prefix = node.Get("continuing_subword_prefix").String();
    for (const auto& [piece, piece_id] : vocabulary_.ids()) {
      longest_first_ = std::max(longest_first_, piece.size());
      if (!piece.starts_with(prefix)) continue;
      following_.emplace(piece.substr(prefix.size()), piece_id);
      longest_following_ = std::max(longest_following_, piece.size() - prefix.size());
    }
  }

  void Tokenize(std::string_view word, std::vector<Token>& tokens) const override {
    const size_t before = tokens.size();
    // No word has more characters than bytes.
    bool known = word.size() <= max_characters_ || CountCodePoints(word) <= max_characters_;
    for (size_t begin = 0; known && begin < word.size();) {
      const Match match = begin == 0
                              ? LongestMatch(vocabulary_.ids(), longest_first_, word)
                              : LongestMatch(following_, longest_following_, word.substr(begin));
      known = match.length > 0;
      tokens.push_back({.id = match.id,
                        .begin = static_cast<uint32_t>(begin),
                        .end = static_cast<uint32_t>(begin + match.length)});
      begin += match.length;
    }
    if (known) return;
    tokens.resize(before);
    tokens.push_back({.id = unknown_, .begin = 0, .end = static_cast<uint32_t>(word.size())});
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  TokenMap following_;  // the pieces with the prefix, without it
  size_t longest_first_ = 0;
  size_t longest_following_ = 0;
  size_t max_characters_;
  int32_t unknown_ = 0;
};

}  // namespace

std::unique_ptr<TokenizerModel> ReadWordPiece(const JsonNode& node) {
  return std::make_unique<WordPiece>(node);
}

}  // namespace coppice
