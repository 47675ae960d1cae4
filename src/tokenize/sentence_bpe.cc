#include "tokenize/sentence_bpe.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "core/error.h"
#include "tokenize/unicode.h"
#include "tokenize/word_split.h"

namespace coppice {
namespace {

// The first word's end: where a mark follows something else. Marks in a row begin one word.
size_t FirstWordEnd(std::string_view text) {
  size_t end = 0;
  while (text.substr(end).starts_with(kSpaceMark)) end += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, end), text.size());
}

class SentenceBpe : public TokenizerModel {
 public:
  explicit SentenceBpe(BpeTables tables) : tables_(std::move(tables)) {
    Check(!tables_.ignore_merges, "SentencePiece's BPE merges always");
    for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
      const auto id = tables_.vocabulary.Find(fmt::format("<0x{:02X}>", byte));
      byte_ids_[byte] = id.value_or(kNoToken);
    }
    // A mark without a token could be part of a run of unknown characters.
    words_apart_ = tables_.vocabulary.Find(kSpaceMark).has_value();
    for (const auto& [token, id] : tables_.vocabulary.ids()) {
      words_apart_ = words_apart_ && FirstWordEnd(token) == token.size();
      if (!token.empty() && FormedByMerges(token, id)) words_.emplace(token, id);
    }
  }

  void Tokenize(std::string_view text, std::vector<Token>& tokens) const override {
    for (size_t begin = 0; begin < text.size();) {
      const std::string_view rest = text.substr(begin);
      const size_t size = words_apart_ ? FirstWordEnd(rest) : rest.size();
      AddWord(rest.substr(0, size), static_cast<uint32_t>(begin), tokens);
      begin += size;
    }
  }

  const Vocabulary& vocabulary() const override { return tables_.vocabulary; }

 private:
  bool FormedByMerges(std::string_view token, int32_t id) const {
    const std::vector<Symbol> symbols = MergeWord(token);
    return !symbols.empty() && symbols[0].id == id && symbols[0].end == token.size();
  }

  void AddWord(std::string_view word, uint32_t origin, std::vector<Token>& tokens) const {
    const auto whole = words_.find(word);
    if (whole != words_.end()) {
      tokens.push_back({.id = whole->second,
                        .begin = origin,
                        .end = origin + static_cast<uint32_t>(word.size())});
      return;
    }
    for (const Symbol& symbol : MergeWord(word)) {
      if (symbol.id == kNoToken) continue;
      tokens.push_back(
          {.id = symbol.id, .begin = origin + symbol.begin, .end = origin + symbol.end});
    }
  }

  std::vector<Symbol> MergeWord(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    // An unknown token waits for the next known one, as in the library: bytes go before it.
    std::optional<ByteRange> unknown;
    const auto flush = [&] {
      if (unknown) AppendSymbol(*tables_.unknown, unknown->begin, unknown->end, symbols);
      unknown.reset();
    };
    for (size_t i = 0; i < word.size();) {
      const auto begin = static_cast<uint32_t>(i);
      NextCodePoint(word, i);
      const auto end = static_cast<uint32_t>(i);
      const std::string_view character = word.substr(begin, end - begin);
      if (const std::optional<int32_t> id = tables_.vocabulary.Find(character)) {
        flush();
        AppendSymbol(*id, begin, end, symbols);
      } else if (!AppendBytes(character, begin, symbols) && tables_.unknown) {
        const bool fused = unknown && tables_.fuse_unknown;
        if (!fused) flush();
        unknown = {.begin = fused ? unknown->begin : begin, .end = end};
      }
    }
    flush();
    tables_.merges.Join(symbols);
    return symbols;
  }

  // False when there is no token for one of the bytes.
  bool AppendBytes(std::string_view character, uint32_t begin, std::vector<Symbol>& symbols) const {
    if (!tables_.byte_fallback) return false;
    for (const char byte : character) {
      if (byte_ids_[static_cast<uint8_t>(byte)] == kNoToken) return false;
    }
    for (const char byte : character) {
      AppendSymbol(byte_ids_[static_cast<uint8_t>(byte)], begin, begin + 1, symbols);
      ++begin;
    }
    return true;
  }

  BpeTables tables_;
  TokenMap words_;                       // texts that the merges make one token of
  std::array<int32_t, 256> byte_ids_{};  // kNoToken: none
  bool words_apart_ = false;             // no token begins in one word and ends in another
};

}  // namespace

std::unique_ptr<TokenizerModel> MakeSentenceBpe(BpeTables tables) {
  return std::make_unique<SentenceBpe>(std::move(tables));
}

}  // namespace coppice
