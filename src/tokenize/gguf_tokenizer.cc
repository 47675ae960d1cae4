#include "tokenize/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tokenize/byte_bpe.h"
#include "tokenize/gguf_pre_tokenization.h"
#include "tokenize/score_merges.h"
#include "tokenize/sentence_bpe.h"
#include "tokenize/tokenizer_parts.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

// Turns a vocabulary into the parts of a tokenizer.
class Maker {
 public:
  Maker(const GgufVocabulary& vocabulary, const std::string& where)
      : given_(vocabulary), where_(where) {}

  TokenizerParts Make() {
    CheckLists();
    const bool scored = given_.model == "llama";
    if (!scored && given_.model != "gpt2") {
      Fail({.what = fmt::format("tokenizer model \"{}\" is not supported", Printable(given_.model)),
            .expected = "gpt2 or llama"});
    }
    TokenizerParts parts = scored ? MakeSentenceParts() : MakeByteParts();
    parts.added = AddedTokens(FindAddedTokens(), parts.normalizer);
    return parts;
  }

 private:
  [[noreturn]] void Fail(Problem problem) const {
    problem.where = where_;
    ThrowBadInput(problem);
  }

  int32_t Type(size_t id) const {
    return given_.token_types.empty() ? kNormalToken : given_.token_types[id];
  }

  void CheckLists() const {
    const size_t count = given_.tokens.size();
    if (count == 0 || count > static_cast<size_t>(kMaxTokenId)) {
      Fail({.what = "bad number of tokens in the vocabulary",
            .expected = fmt::format("1 to {}", kMaxTokenId),
            .found = std::to_string(count)});
    }
    if (!given_.token_types.empty() && given_.token_types.size() != count) {
      Fail({.what = "tokens and their types differ in number",
            .expected = std::to_string(count),
            .found = std::to_string(given_.token_types.size())});
    }
    for (size_t id = 0; id < count; ++id) {
      if (!IsValidUtf8(given_.tokens[id])) {
        Fail({.what = fmt::format("token {} is not UTF-8", id)});
      }
      if (Type(id) < kNormalToken || Type(id) > kByteToken) {
        Fail({.what = fmt::format("token {} has an unknown type", id),
              .expected = "1 to 6",
              .found = std::to_string(Type(id))});
      }
    }
    for (const std::optional<int32_t> id : {given_.bos, given_.eos, given_.unk, given_.pad}) {
      if (id && (*id < 0 || static_cast<size_t>(*id) >= count)) {
        Fail({.what = fmt::format("special token {} is not in the vocabulary", *id),
              .expected = fmt::format("0 to {}", count - 1)});
      }
    }
  }

  // Tokens without a spelling are left out: no text becomes them.
  Vocabulary MakeVocabulary() const {
    Vocabulary vocabulary;
    for (size_t id = 0; id < given_.tokens.size(); ++id) {
      const std::string& token = given_.tokens[id];
      if (token.empty() || vocabulary.Add(token, static_cast<int32_t>(id))) continue;
      Fail({.what = fmt::format("tokens {} and {} are the same, \"{}\"", *vocabulary.Find(token),
                                id, Printable(token))});
    }
    return vocabulary;
  }

  std::vector<AddedToken> FindAddedTokens() const {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < given_.tokens.size(); ++id) {
      const int32_t type = Type(id);
      const bool special = type == kControlToken || type == kUnknownToken;
      if (given_.tokens[id].empty() || (!special && type != kUserDefinedToken)) continue;
      added.push_back(
          {.text = given_.tokens[id], .id = static_cast<int32_t>(id), .special = special});
    }
    return added;
  }

  PostProcessor MakeEnds(bool add_bos) const {
    const auto end = [this](std::optional<int32_t> id, std::optional<bool> asked, bool otherwise,
                            const char* name) -> std::optional<int32_t> {
      if (asked.value_or(false) && !id) {
        Fail({.what = fmt::format("add_{0}_token is set but there is no {0}_token_id", name)});
      }
      return asked.value_or(otherwise) ? id : std::nullopt;
    };
    return MakePostProcessor(end(given_.bos, given_.add_bos, add_bos, "bos"),
                             end(given_.eos, given_.add_eos, false, "eos"));
  }

  TokenizerParts MakeByteParts() const {
    const std::string_view pre = given_.pre.empty() ? "default" : std::string_view(given_.pre);
    const PreTokenization* const found = FindPreTokenization(pre);
    if (found == nullptr) {
      Fail({.what = fmt::format("pre-tokenizer \"{}\" is not supported", Printable(pre)),
            .expected = "default, gpt-2, llama-bpe, qwen2 or smollm"});
    }
    if (given_.add_space_prefix.value_or(false)) {
      Fail({.what = "add_space_prefix is not supported", .expected = "false for a gpt2 model"});
    }
    BpeTables tables = {.vocabulary = MakeVocabulary(), .merges = {}};
    AddMerges(tables);
    tables.ignore_merges = found->ignore_merges;
    PreTokenizer pre_tokenizer = {.byte_level = true};
    pre_tokenizer.splits = found->splits;
    std::vector<Normalizer::Step> steps;
    if (found->compose) steps.emplace_back(CanonicalComposer());
    return {.normalizer = Normalizer(std::move(steps)),
            .pre_tokenizer = std::move(pre_tokenizer),
            .model = MakeByteBpe(std::move(tables)),
            .added = {},
            .post_processor = MakeEnds(found->add_bos),
            .decoder = Decoder({Decoder::ByteLevel{}})};
  }

  void AddMerges(BpeTables& tables) const {
    tables.merges.Reserve(given_.merges.size());
    for (size_t rank = 0; rank < given_.merges.size(); ++rank) {
      const std::optional<MergePair> pair = ReadMergePair(given_.merges[rank]);
      if (!pair) Fail({.what = fmt::format("bad merge {}", rank), .expected = "two tokens"});
      if (auto problem = AddMerge(*pair, static_cast<int32_t>(rank), tables)) {
        Fail(*std::move(problem));
      }
    }
  }

  TokenizerParts MakeSentenceParts() const {
    BpeTables tables = {.vocabulary = MakeVocabulary(), .merges = {}};
    CheckScores();
    tables.merges = MergesFromScores(tables.vocabulary, given_.scores, [this](int32_t id) {
      const int32_t type = Type(static_cast<size_t>(id));
      return type == kNormalToken || type == kUserDefinedToken;
    });
    tables.unknown = FindUnknown();
    tables.fuse_unknown = true;
    tables.byte_fallback = true;
    const std::string mark(kSpaceMark);
    const bool prefix = given_.add_space_prefix.value_or(true);
    std::vector<Normalizer::Step> steps;
    if (prefix) steps.emplace_back(Normalizer::Prepend{.text = mark});
    steps.emplace_back(Normalizer::Replace{.pattern = " ", .content = mark});
    std::vector<Decoder::Step> decoding = {Decoder::Replace{.pattern = mark, .content = " "},
                                           Decoder::ByteFallback{}, Decoder::Fuse{}};
    if (prefix) decoding.emplace_back(Decoder::Strip{.content = " ", .start = 1, .stop = 0});
    return {.normalizer = Normalizer(std::move(steps)),
            .pre_tokenizer = {},
            .model = MakeSentenceBpe(std::move(tables)),
            .added = {},
            .post_processor = MakeEnds(true),
            .decoder = Decoder(std::move(decoding))};
  }

  void CheckScores() const {
    if (given_.scores.size() != given_.tokens.size()) {
      Fail({.what = "tokens and their scores differ in number",
            .expected = std::to_string(given_.tokens.size()),
            .found = std::to_string(given_.scores.size())});
    }
    for (size_t id = 0; id < given_.scores.size(); ++id) {
      if (std::isnan(given_.scores[id])) {
        Fail({.what = fmt::format("the score of token {} is not a number", id)});
      }
      if (given_.tokens[id].size() > kMaxScoredToken) {
        Fail({.what = fmt::format("token {} is too long", id),
              .expected = fmt::format("at most {} bytes", kMaxScoredToken)});
      }
    }
  }

  // The unknown token that the file names, or the one whose type says so.
  std::optional<int32_t> FindUnknown() const {
    for (size_t id = 0; !given_.unk && id < given_.tokens.size(); ++id) {
      if (Type(id) == kUnknownToken) return static_cast<int32_t>(id);
    }
    return given_.unk;
  }

  const GgufVocabulary& given_;
  const std::string& where_;
};

}  // namespace

Tokenizer MakeGgufTokenizer(const GgufVocabulary& vocabulary, const std::string& where) {
  return Tokenizer(Maker(vocabulary, where).Make());
}

}  // namespace coppice
