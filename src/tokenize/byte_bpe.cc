#include "tokenize/byte_bpe.h"

#include <fmt/format.h>

#include <queue>

#include "tokenize/unicode.h"

namespace coppice {
namespace {

constexpr int32_t kNone = -1;

uint64_t PairKey(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

struct PairHash {
  size_t operator()(uint64_t key) const {
    key *= 0x9E3779B97F4A7C15U;
    return key ^ (key >> 32);
  }
};

struct Merge {
  int32_t rank = 0;
  int32_t id = 0;
};

// A symbol of a word in the making, in a list that keeps its places: a symbol that was joined to
// its left neighbour stays behind with id kNone.
struct Symbol {
  int32_t id = kNone;
  uint32_t begin = 0;
  uint32_t end = 0;
  int32_t previous = kNone;
  int32_t next = kNone;
};

// A pair that can be joined, unless one of its symbols has changed since.
struct Candidate {
  int32_t rank = 0;
  int32_t left = 0;  // place of the left symbol
  int32_t id = 0;    // what the pair becomes
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};
using Queue = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

class ByteBpe : public TokenizerModel {
 public:
  explicit ByteBpe(const JsonNode& node) : vocabulary_(Vocabulary::Read(node.Get("vocab"))) {
    RefuseVariants(node);
    ReadUnknown(node);
    ReadMerges(node.Get("merges"));
    FindBytes();
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
      if (symbol.id == kNone) continue;
      tokens.push_back({.id = symbol.id, .begin = symbol.begin, .end = symbol.end});
    }
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  static void RefuseVariants(const JsonNode& node) {
    if (const auto dropout = node.Find("dropout"); dropout && dropout->value() != 0.0) {
      dropout->Refuse("dropout", "null: tokens must not depend on chance");
    }
    for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto affix = node.Find(key);
      if (affix && !affix->String().empty()) affix->Refuse(key, "null or an empty string");
    }
    for (const char* const key : {"byte_fallback", "ignore_merges"}) {
      const auto flag = node.Find(key);
      if (flag && flag->Bool()) flag->Refuse(key, "false");
    }
  }

  void ReadUnknown(const JsonNode& node) {
    if (const auto fuse = node.Find("fuse_unk")) fuse_unknown_ = fuse->Bool();
    const auto unknown = node.Find("unk_token");
    if (!unknown) return;
    const std::optional<int32_t> id = vocabulary_.Find(unknown->String());
    if (!id) {
      unknown->Fail({.what = fmt::format("unknown token \"{}\" is not in the vocabulary",
                                         Printable(unknown->String()))});
    }
    unknown_ = *id;
  }

  void ReadMerges(const JsonNode& node) {
    const std::vector<JsonNode> elements = node.Elements();
    merges_.reserve(elements.size());
    int32_t rank = 0;
    for (const JsonNode& element : elements) {
      // A line of the older files' header.
      if (element.IsString() && element.String().starts_with("#version")) continue;
      const auto [left, right] = ReadMerge(element);
      const Merge merge = {.rank = rank++, .id = FindPart(element, left + right)};
      // As in the library, the last of two equal merges counts.
      merges_[PairKey(FindPart(element, left), FindPart(element, right))] = merge;
    }
  }

  // A merge is written as "left right" or as ["left", "right"].
  static std::pair<std::string, std::string> ReadMerge(const JsonNode& element) {
    if (element.IsArray()) {
      const std::vector<JsonNode> parts = element.Elements();
      if (parts.size() == 2) return {parts[0].String(), parts[1].String()};
    } else {
      const std::string& text = element.String();
      const size_t space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        return {text.substr(0, space), text.substr(space + 1)};
      }
    }
    element.Fail({.what = "bad merge", .expected = "two tokens"});
  }

  int32_t FindPart(const JsonNode& element, const std::string& token) const {
    const std::optional<int32_t> id = vocabulary_.Find(token);
    if (!id) {
      element.Fail({.what = fmt::format("merge of a token that is not in the vocabulary, \"{}\"",
                                        Printable(token))});
    }
    return *id;
  }

  void FindBytes() {
    const std::array<char32_t, 256> alphabet = ByteAlphabet();
    for (size_t byte = 0; byte < alphabet.size(); ++byte) {
      std::string spelling;
      AppendUtf8(alphabet[byte], spelling);
      byte_ids_[byte] = vocabulary_.Find(spelling).value_or(kNone);
    }
  }

  void RememberWholeWords() {
    std::unordered_map<char32_t, char> bytes;
    const std::array<char32_t, 256> alphabet = ByteAlphabet();
    for (size_t byte = 0; byte < alphabet.size(); ++byte) {
      bytes.emplace(alphabet[byte], static_cast<char>(byte));
    }
    for (const auto& [token, id] : vocabulary_.ids()) {
      std::string word;
      bool spelled = !token.empty();
      for (size_t i = 0; spelled && i < token.size();) {
        const auto byte = bytes.find(NextCodePoint(token, i));
        spelled = byte != bytes.end();
        if (spelled) word.push_back(byte->second);
      }
      if (!spelled) continue;
      const std::vector<Symbol> symbols = MergeWord(word);
      if (!symbols.empty() && symbols[0].id == id && symbols[0].end == word.size()) {
        words_.emplace(std::move(word), id);
      }
    }
  }

  // One symbol a byte. A byte without a token becomes the unknown token, or nothing where there is
  // none.
  std::vector<Symbol> StartWord(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    bool after_unknown = false;
    for (uint32_t i = 0; i < word.size(); ++i) {
      const int32_t known = byte_ids_[static_cast<uint8_t>(word[i])];
      const int32_t id = known == kNone ? unknown_ : known;
      if (id == kNone) continue;
      if (known == kNone && after_unknown && fuse_unknown_) {
        symbols.back().end = i + 1;
        continue;
      }
      after_unknown = known == kNone;
      const auto place = static_cast<int32_t>(symbols.size());
      if (place > 0) symbols.back().next = place;
      symbols.push_back({.id = id, .begin = i, .end = i + 1, .previous = place - 1});
    }
    return symbols;
  }

  void PushPair(const std::vector<Symbol>& symbols, int32_t left, Queue& queue) const {
    if (left == kNone) return;
    const Symbol& symbol = symbols[static_cast<size_t>(left)];
    if (symbol.next == kNone) return;
    const auto merge =
        merges_.find(PairKey(symbol.id, symbols[static_cast<size_t>(symbol.next)].id));
    if (merge == merges_.end()) return;
    queue.push({.rank = merge->second.rank, .left = left, .id = merge->second.id});
  }

  std::vector<Symbol> MergeWord(std::string_view word) const {
    std::vector<Symbol> symbols = StartWord(word);
    Queue queue;
    for (size_t i = 0; i < symbols.size(); ++i) PushPair(symbols, static_cast<int32_t>(i), queue);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<size_t>(best.left)];
      if (left.id == kNone || left.next == kNone) continue;
      Symbol& right = symbols[static_cast<size_t>(left.next)];
      const auto merge = merges_.find(PairKey(left.id, right.id));
      if (merge == merges_.end() || merge->second.id != best.id) continue;
      left.id = best.id;
      left.end = right.end;
      left.next = right.next;
      right.id = kNone;
      if (left.next != kNone) symbols[static_cast<size_t>(left.next)].previous = best.left;
      PushPair(symbols, left.previous, queue);
      PushPair(symbols, best.left, queue);
    }
    return symbols;
  }

  Vocabulary vocabulary_;
  std::unordered_map<uint64_t, Merge, PairHash> merges_;
  TokenMap words_;  // tokens, as bytes, that the merges form from their own bytes
  std::array<int32_t, 256> byte_ids_{};  // kNone: no token
  int32_t unknown_ = kNone;
  bool fuse_unknown_ = false;
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

std::unique_ptr<TokenizerModel> ReadByteBpe(const JsonNode& node) {
  return std::make_unique<ByteBpe>(node);
}

}  // namespace coppice
