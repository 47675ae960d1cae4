// The tokenizers of language models, against the goldens in testdata/tokenize-lm.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "tokenize/canonical_composer.h"
#include "tokenize/lm_tokenizer_testing.h"
#include "tokenize/unicode.h"
#include "tokenize/word_split.h"

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

class LmTokenizerGoldens : public testing::Test {
 protected:
  LmTokenizerGoldens() : goldens_(ReadLmJson("goldens.json")) {
    for (const auto& [name, text] : goldens_["texts"].items()) texts_[name] = ExpandText(text);
    for (const auto& [name, hex] : goldens_["raw"].items()) {
      texts_[name] = FromHex(hex.get<std::string>());
    }
  }

  Tokenizer Load(const json& entry) {
    const std::string base = entry["base"];
    if (!bases_.contains(base)) bases_[base] = ReadLmJson(base + ".json");
    json document = bases_.at(base);
    document.merge_patch(entry["patch"]);
    return LoadTestTokenizer(document);
  }

  const json& Entry(const std::string& name) const {
    for (const json& entry : goldens_["tokenizers"]) {
      if (entry["name"] == name) return entry;
    }
    throw std::runtime_error("no golden " + name);
  }

  void ExpectGoldenTokens(const Tokenizer& tokenizer, const json& entry) const {
    for (const auto& [name, expected] : entry["tokens"].items()) {
      const std::vector<Token> tokens = tokenizer.Tokenize(texts_.at(name));
      json triples = json::array();
      std::vector<uint32_t> numbers;
      for (const Token& token : tokens) {
        triples.push_back({token.id, token.begin, token.end});
        numbers.insert(numbers.end(), {static_cast<uint32_t>(token.id), token.begin, token.end});
      }
      const json found = !expected.is_string() ? triples
                         : expected.get<std::string>().starts_with("ids ")
                             ? json("ids " + DigestOf<int32_t>(Ids(tokens)))
                             : json(DigestOf<uint32_t>(numbers));
      EXPECT_EQ(found, expected) << "tokenizer: " << entry["name"] << ", text: " << name;
      ExpectDecoded(tokenizer, Ids(tokens), entry, name);
    }
  }

  void ExpectDecoded(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, const json& entry,
                     const std::string& name) const {
    const std::string text = tokenizer.Decode(ids, SpecialTokens::kKeep);
    const std::string expected = entry["decoded"].value(name, RepairUtf8(texts_.at(name)).bytes);
    EXPECT_TRUE(text == expected || TextDigest(text) == expected)
        << "tokenizer: " << entry["name"] << ", text: " << name << "\ngot: " << text
        << "\nnot: " << expected;
  }

  json goldens_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, json> bases_;
};

TEST_F(LmTokenizerGoldens, TokensOffsetsAndBack) {
  ASSERT_EQ(goldens_["tokenizers"].size(), 36U);
  for (const json& entry : goldens_["tokenizers"]) {
    ASSERT_EQ(entry["tokens"].size(), texts_.size());
    ExpectGoldenTokens(Load(entry), entry);
  }
}

TEST_F(LmTokenizerGoldens, SpecialTokensAroundTexts) {
  for (const json& entry : goldens_["tokenizers"]) {
    const Tokenizer tokenizer = Load(entry);
    const std::string& first = texts_.at("plain");
    EXPECT_EQ(json(tokenizer.Encode(first, std::nullopt, kNoLimit).ids), entry["encoded"][0]);
    EXPECT_EQ(json(tokenizer.Encode(first, texts_.at("digits"), kNoLimit).ids), entry["encoded"][1])
        << entry["name"];
  }
}

TEST_F(LmTokenizerGoldens, AnyIdsAsText) {
  for (const json& entry : goldens_["tokenizers"]) {
    const Tokenizer tokenizer = Load(entry);
    for (const json& each : entry["ids"]) {
      const std::vector<int32_t> ids = each[0];
      EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kKeep), each[1]) << entry["name"];
      EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kSkip), each[2]) << entry["name"];
    }
    EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{-1, 1 << 30}, SpecialTokens::kKeep), "");
  }
}

// The same tokenizers, from what a GGUF file would hold.
TEST_F(LmTokenizerGoldens, GgufWithMerges) {
  for (const auto& [name, pre] : std::map<std::string, std::string>{
           {"smollm", "smollm"}, {"gpt2", "gpt-2"}, {"llama3", "llama-bpe"}, {"qwen2", "qwen2"}}) {
    const json& entry = Entry(name);
    GgufVocabulary vocabulary =
        MakeGgufVocabulary(ReadLmJson(entry["base"].get<std::string>() + ".json"), pre);
    if (name == "llama3") vocabulary.bos = static_cast<int32_t>(vocabulary.tokens.size()) - 2;
    const Tokenizer tokenizer = MakeGgufTokenizer(vocabulary, "model.gguf");
    const Tokenizer same = Load(entry);
    for (const auto& [text_name, text] : texts_) {
      EXPECT_EQ(Ids(tokenizer.Tokenize(text)), Ids(same.Tokenize(text)))
          << pre << ", text: " << text_name;
    }
    EXPECT_EQ(json(tokenizer.Encode(texts_.at("plain"), texts_.at("digits"), kNoLimit).ids),
              entry["encoded"][1])
        << pre;
    for (const json& each : entry["ids"]) {
      const std::vector<int32_t> ids = each[0];
      EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kSkip), each[2]) << pre;
    }
  }
}

GgufVocabulary SentencePieceVocabulary(const json& golden) {
  return {.model = "llama",
          .tokens = golden["tokens"],
          .token_types = golden["token_types"],
          .scores = golden["scores"],
          .bos = golden["bos"],
          .eos = golden["eos"],
          .unk = golden["unk"]};
}

TEST_F(LmTokenizerGoldens, GgufWithScores) {
  const json golden = ReadLmJson("sentencepiece.json");
  const Tokenizer tokenizer = MakeGgufTokenizer(SentencePieceVocabulary(golden), "model.gguf");
  ASSERT_GT(golden["expected"].size(), 60U);
  for (const auto& [name, expected] : golden["expected"].items()) {
    const std::vector<int32_t> ids = Ids(tokenizer.Tokenize(texts_.at(name)));
    EXPECT_EQ(expected[0].is_string() ? json(DigestOf<int32_t>(ids)) : json(ids), expected[0])
        << name;
    const std::string text = tokenizer.Decode(ids, SpecialTokens::kKeep);
    EXPECT_TRUE(text == expected[1] || TextDigest(text) == expected[1]) << name << ": " << text;
  }
}

// Where a text with each character of the golden ranges is cut, in characters.
TEST(WordSplitTest, EveryCharacter) {
  const json golden = ReadLmJson("unicode.json");
  const std::map<std::string, WordSplit> splits = {{"gpt2", SplitAsGpt2},
                                                   {"llama3", SplitAsLlama3},
                                                   {"qwen2", SplitAsQwen2},
                                                   {"digits", SplitDigits},
                                                   {"numbers", SplitNumbers}};
  const CanonicalComposer composer;
  const auto code_points = [](std::string_view text) {
    std::vector<uint32_t> found;
    for (size_t i = 0; i < text.size();) found.push_back(NextCodePoint(text, i));
    return found;
  };
  std::map<std::string, std::map<std::string, Digest>> digests;
  const json characters = ReadTestJson("unicode.json");
  for (const json& range : characters["ranges"]) {
    for (auto code = range[0].get<char32_t>(); code <= range[1].get<char32_t>(); ++code) {
      const std::string block = fmt::format("{:x}", static_cast<uint32_t>(code) >> 12);
      std::string c;
      AppendUtf8(code, c);
      const std::string text = fmt::format("a{0}b '{0}x 1{0}22 {0}{0} \n{0}\u0323\u0307", c);
      std::vector<uint32_t> places(text.size() + 1);  // characters before each byte
      for (uint32_t i = 0, n = 0; i < text.size(); ++i) {
        places[i] = n;
        if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) ++n;
        places[i + 1] = n;
      }
      for (const auto& [name, split] : splits) {
        std::vector<ByteRange> words;
        split(text, words);
        std::vector<uint32_t> cuts;
        for (const ByteRange word : words) {
          cuts.insert(cuts.end(), {places[word.begin], places[word.end]});
        }
        digests[name][block].AddList<uint32_t>(cuts);
      }
      const std::string given = fmt::format("A{0}\u0301\u0323a{0}", c);
      const AlignedText composed = composer.Compose(Unchanged(given, 0).View());
      digests["nfc"][block].AddList<uint32_t>(code_points(composed.bytes));
    }
  }
  for (const auto& [kind, blocks] : golden["digests"].items()) {
    for (const auto& [block, expected] : blocks.items()) {
      EXPECT_EQ(digests[kind][block].Hex(), expected.get<std::string>())
          << kind << ", code points from " << block << "000";
    }
  }
}

}  // namespace
}  // namespace coppice
