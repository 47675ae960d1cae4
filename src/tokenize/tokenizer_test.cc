#include "tokenize/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tokenize/tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::string Expand(const json& text) {
  if (text.is_string()) return text.get<std::string>();
  std::string expanded;
  for (int i = 0; i < text["repeat"][1].get<int>(); ++i) {
    expanded += text["repeat"][0].get<std::string>();
  }
  return expanded + text.value("then", "");
}

// The golden texts and tokenizers; see tools/make_tokenizer_goldens.py.
class TokenizerGoldens : public testing::Test {
 protected:
  TokenizerGoldens() : goldens_(ReadTestJson("goldens.json")) {
    for (const auto& [name, text] : goldens_["texts"].items()) texts_[name] = Expand(text);
    for (const auto& [name, hex] : goldens_["raw"].items()) {
      texts_[name] = FromHex(hex.get<std::string>());
    }
    for (const char* const base : {"wordpiece", "byte_bpe"}) {
      bases_[base] = ReadTestJson(fmt::format("{}.json", base));
    }
  }

  Tokenizer Load(const json& entry) const {
    json document = bases_.at(entry["base"]);
    document.merge_patch(entry["patch"]);
    return LoadTestTokenizer(document);
  }

  void ExpectGoldenTokens(const Tokenizer& tokenizer, const json& entry) const {
    for (const auto& [name, expected] : entry["tokens"].items()) {
      json triples = json::array();
      std::vector<uint32_t> numbers;
      for (const Token& token : tokenizer.Tokenize(texts_.at(name))) {
        triples.push_back({token.id, token.begin, token.end});
        numbers.insert(numbers.end(), {static_cast<uint32_t>(token.id), token.begin, token.end});
      }
      Digest digest;
      digest.AddList<uint32_t>(numbers);
      EXPECT_EQ(expected.is_string() ? json(digest.Hex()) : triples, expected)
          << "tokenizer: " << entry["name"] << ", text: " << name;
    }
  }

  json goldens_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, json> bases_;
};

TEST_F(TokenizerGoldens, TokensAndOffsets) {
  ASSERT_EQ(goldens_["tokenizers"].size(), 27U);
  for (const json& entry : goldens_["tokenizers"]) {
    ASSERT_EQ(entry["tokens"].size(), texts_.size());
    ExpectGoldenTokens(Load(entry), entry);
  }
}

TEST_F(TokenizerGoldens, MergesWrittenAsStrings) {
  for (const json& entry : goldens_["tokenizers"]) {
    if (entry["name"] != "byte_bpe") continue;
    json document = bases_.at("byte_bpe");
    json merges = {"#version: 0.2"};
    for (const json& pair : document["model"]["merges"]) {
      merges.push_back(
          fmt::format("{} {}", pair[0].get<std::string>(), pair[1].get<std::string>()));
    }
    document["model"]["merges"] = merges;
    document["model"].erase("type");  // as in files of that time
    ExpectGoldenTokens(LoadTestTokenizer(document), entry);
  }
}

TEST_F(TokenizerGoldens, Pairs) {
  for (const json& entry : goldens_["tokenizers"]) {
    const Tokenizer tokenizer = Load(entry);
    for (size_t i = 0; i < goldens_["pairs"].size(); ++i) {
      const json& pair = goldens_["pairs"][i];
      const std::string& first = texts_.at(pair[0]);
      std::optional<std::string_view> second;
      if (!pair[1].is_null()) second = texts_.at(pair[1]);
      const size_t limit = pair[2].is_null() ? kNoLimit : pair[2].get<size_t>();
      const Encoding encoding = tokenizer.Encode(first, second, limit);
      Digest digest;
      digest.AddList<int32_t>(encoding.ids);
      digest.AddList<int32_t>(encoding.type_ids);
      digest.AddList<int8_t>(encoding.sequence);
      const json& expected = entry["pairs"][i];
      EXPECT_EQ(expected.is_string() ? json(digest.Hex())
                                     : json({encoding.ids, encoding.type_ids, encoding.sequence}),
                expected)
          << "tokenizer: " << entry["name"] << ", pair: " << pair;
    }
  }
}

TEST_F(TokenizerGoldens, LongestFirstTruncation) {
  const Tokenizer tokenizer = LoadTestTokenizer(bases_.at("wordpiece"));
  for (const auto& [limit, kept] : goldens_["truncation"].items()) {
    ASSERT_EQ(kept.size(), 100U);
    for (size_t i = 0; i < kept.size(); ++i) {
      const auto words = [](size_t count) { return Expand({{"repeat", {"a ", count}}}); };
      const Encoding encoding = tokenizer.Encode(words(i / 10), words(i % 10), std::stoul(limit));
      std::vector<int64_t> counts;
      for (const int text : {0, 1}) {
        counts.push_back(std::count(encoding.sequence.begin(), encoding.sequence.end(), text));
      }
      EXPECT_EQ(json(counts), kept[i])
          << i / 10 << " and " << i % 10 << " tokens, at most " << limit;
    }
  }
}

TEST(TokenizerTest, LimitBelowTheSpecialTokensIsRefused) {
  const Tokenizer tokenizer = LoadTestTokenizer(ReadTestJson("wordpiece.json"));
  EXPECT_EQ(tokenizer.Encode("a", std::nullopt, 2).ids.size(), 2U);
  EXPECT_THROW(tokenizer.Encode("a", std::nullopt, 1), Error);
  EXPECT_EQ(tokenizer.Encode("a", "a", 3).ids.size(), 3U);
  EXPECT_THROW(tokenizer.Encode("a", "a", 2), Error);
}

TEST(TokenizerTest, NumSpecial) {
  const Tokenizer bert = LoadTestTokenizer(ReadTestJson("wordpiece.json"));
  EXPECT_EQ(bert.NumSpecial(false), 2U);
  EXPECT_EQ(bert.NumSpecial(true), 3U);
  const Tokenizer roberta = LoadTestTokenizer(ReadTestJson("byte_bpe.json"));
  EXPECT_EQ(roberta.NumSpecial(false), 2U);
  EXPECT_EQ(roberta.NumSpecial(true), 4U);
}

TEST(TokenizerTest, AssembleDoesNotTruncate) {
  const Tokenizer tokenizer = LoadTestTokenizer(ReadTestJson("wordpiece.json"));
  const std::vector<Token> first = {{.id = 10}, {.id = 11}};
  const std::vector<Token> second(1000, Token{.id = 12});
  const Encoding encoding = tokenizer.Assemble(first, second);
  ASSERT_EQ(encoding.ids.size(), 1005U);
  EXPECT_EQ(encoding.ids[1], 10);
  EXPECT_EQ(encoding.sequence[3], -1);
  EXPECT_EQ(encoding.type_ids[1004], 1);
}

TEST(TokenizerTest, VocabularyHoldsAddedTokens) {
  json document = ReadTestJson("wordpiece.json");
  const auto size = static_cast<int32_t>(document["model"]["vocab"].size());
  EXPECT_EQ(LoadTestTokenizer(document).VocabularySize(), size);
  document["added_tokens"].push_back({{"id", size},
                                      {"content", "<new>"},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", false}});
  const Tokenizer tokenizer = LoadTestTokenizer(document);
  EXPECT_EQ(tokenizer.VocabularySize(), size + 1);
  EXPECT_EQ(tokenizer.TokenId("<new>"), size);
  EXPECT_EQ(tokenizer.TokenId("[CLS]"), 2);
  EXPECT_EQ(tokenizer.TokenId("the"), document["model"]["vocab"]["the"].get<int32_t>());
  EXPECT_EQ(tokenizer.TokenId("not a token"), std::nullopt);
}

// Bytes that have no token: the unknown token, one a byte or one a run, or nothing.
TEST(TokenizerTest, ByteWithoutToken) {
  json document = ReadTestJson("byte_bpe.json");
  document["model"]["merges"] = json::array();
  for (const std::string token : {"x", "y"}) {
    document["model"]["vocab"]["no " + token] = document["model"]["vocab"][token];
    document["model"]["vocab"].erase(token);
  }
  const auto ids = [&document] {
    std::vector<int32_t> found;
    for (const Token& token : LoadTestTokenizer(document).Tokenize("axyyb")) {
      found.push_back(token.id);
    }
    return found;
  };
  const int32_t a = document["model"]["vocab"]["a"];
  const int32_t b = document["model"]["vocab"]["b"];
  EXPECT_EQ(ids(), (std::vector<int32_t>{a, b}));
  document["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(ids(), (std::vector<int32_t>{a, 3, 3, 3, b}));
  document["model"]["fuse_unk"] = true;
  EXPECT_EQ(ids(), (std::vector<int32_t>{a, 3, b}));
}

TEST_F(TokenizerGoldens, SameTokensFromManyThreads) {
  const Tokenizer tokenizer = LoadTestTokenizer(bases_.at("byte_bpe"));
  const auto digest = [&] {
    Digest all;
    for (const auto& [name, text] : texts_) {
      all.AddList<int32_t>(tokenizer.Encode(text, "and", kNoLimit).ids);
    }
    return all.Hex();
  };
  const std::string expected = digest();
  std::atomic<int> equal = 0;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { equal += digest() == expected ? 1 : 0; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 4);
}

}  // namespace
}  // namespace coppice
