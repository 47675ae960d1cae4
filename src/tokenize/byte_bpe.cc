#include "tokenize/byte_bpe.h"

#include "core/error.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

class ByteBpe : public TokenizerModel {
 public:
  explicit ByteBpe(BpeTables tables) : tables_(std::move(tables)) {
    Check(!tables_.byte_fallback, "byte-level BPE has no byte fallback");
    const std::array<char32_t, 256> alphabet = ByteAlphabet();
    for (size_t byte = 0; byte < alphabet.size(); ++byte) {
      std::string spelling;
      AppendUtf8(alphabet[byte], spelling);
      byte_ids_[byte] = tables_.vocabulary.Find(spelling).value_or(kNoToken);
    }
    RememberWholeWords();
  }

  void Tokenize(std::string_view word, std::vector<Token>& tokens) const override {
    const auto whole = words_.find(word);
    if (whole != words_.end()) {
      tokens.push_back(
          {.id = whole->second, .begin = 0, .end = static_cast<uint32_t>(word.size())});
      return;
    }
    for (const Symbol& symbol : MergeWord(word)) {
      if (symbol.id == kNoToken) continue;
      tokens.push_back({.id = symbol.id, .begin = symbol.begin, .end = symbol.end});
    }
  }

  const Vocabulary& vocabulary() const override { return tables_.vocabulary; }

 private:
  void RememberWholeWords() {
    const ByteSpelling spelling;
    for (const auto& [token, id] : tables_.vocabulary.ids()) {
      std::optional<std::string> word = spelling.Bytes(token);
      if (!word || word->empty()) continue;
      if (!tables_.ignore_merges) {
        const std::vector<Symbol> symbols = MergeWord(*word);
        if (symbols.empty() || symbols[0].id != id || symbols[0].end != word->size()) continue;
      }
      words_.emplace(*std::move(word), id);
    }
  }

  // One symbol a byte. A byte without a token becomes the unknown token, or nothing where there is
  // none.
  std::vector<Symbol> MergeWord(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    bool after_unknown = false;
    for (uint32_t i = 0; i < word.size(); ++i) {
      const int32_t known = byte_ids_[static_cast<uint8_t>(word[i])];
      const int32_t id = known == kNoToken ? tables_.unknown.value_or(kNoToken) : known;
      if (id == kNoToken) continue;
      if (known == kNoToken && after_unknown && tables_.fuse_unknown) {
        symbols.back().end = i + 1;
        continue;
      }
      after_unknown = known == kNoToken;
      AppendSymbol(id, i, i + 1, symbols);
    }
    tables_.merges.Join(symbols);
    return symbols;
  }

  BpeTables tables_;
  TokenMap words_;                       // words that are one token, as bytes
  std::array<int32_t, 256> byte_ids_{};  // kNoToken: none
};

}  // namespace

std::array<char32_t, 256> ByteAlphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t spare = 0x100;
  for (char32_t byte = 0; byte < alphabet.size(); ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    alphabet[byte] = printable ? byte : spare++;
  }
  return alphabet;
}

ByteSpelling::ByteSpelling() {
  bytes_.fill(-1);
  const std::array<char32_t, 256> alphabet = ByteAlphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) {
    bytes_[alphabet[byte]] = static_cast<int16_t>(byte);
  }
}

std::optional<std::string> ByteSpelling::Bytes(std::string_view token) const {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const char32_t c = NextCodePoint(token, i);
    if (c >= bytes_.size() || bytes_[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(bytes_[c]));
  }
  return bytes;
}

std::unique_ptr<TokenizerModel> MakeByteBpe(BpeTables tables) {
  return std::make_unique<ByteBpe>(std::move(tables));
}

}  // namespace coppice
