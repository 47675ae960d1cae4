// Vocabularies of tokenizer.json files as GGUF holds them: read back, they give the same ids.
#include "tokenize/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "testdata.h"
#include "tokenize/lm_tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

GgufVocabulary VocabularyOf(const json& document) {
  return ParseGgufVocabulary(document.dump(), "tokenizer.json");
}

// A document whose merges are those that scores give, as in files made from SentencePiece's: of
// each token every pair.
json Read(const std::string& name) {
  json document = ReadLmJson(name + ".json");
  if (document["model"]["byte_fallback"] == false) return document;
  const json& vocab = document["model"]["vocab"];
  json merges = json::array();
  for (const json& merge : document["model"]["merges"]) {
    const std::string token = merge[0].get<std::string>() + merge[1].get<std::string>();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const std::string left = token.substr(0, cut), right = token.substr(cut);
      if (vocab.contains(left) && vocab.contains(right)) merges.push_back({left, right});
    }
  }
  document["model"]["merges"] = merges;
  return document;
}

std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  const json goldens = ReadLmJson("goldens.json");
  for (const auto& [name, text] : goldens["texts"].items()) texts.push_back(ExpandText(text));
  return texts;
}

TEST(GgufVocabulary, GivesTheSameIds) {
  const std::vector<std::string> texts = Texts();
  ASSERT_GT(texts.size(), 10u);
  const std::map<std::string, std::string> names = {{"smollm", "smollm"},
                                                    {"llama3", "llama-bpe"},
                                                    {"qwen2", "qwen2"},
                                                    {"llama2", ""},
                                                    {"joined", ""}};
  for (const auto& [name, pre] : names) {
    SCOPED_TRACE(name);
    const json document = Read(name);
    const GgufVocabulary vocabulary = VocabularyOf(document);
    EXPECT_EQ(vocabulary.pre, pre);
    EXPECT_EQ(vocabulary.model, pre.empty() ? "llama" : "gpt2");
    const Tokenizer ours = Tokenizer::Parse(document.dump(), "tokenizer.json");
    const Tokenizer theirs = MakeGgufTokenizer(vocabulary, "model.gguf");
    EXPECT_EQ(theirs.VocabularySize(), ours.VocabularySize());
    for (const std::string& text : texts) {
      const std::vector<int32_t> ids = ours.Encode(text, std::nullopt, kNoLimit).ids;
      EXPECT_EQ(theirs.Encode(text, std::nullopt, kNoLimit).ids, ids) << text.substr(0, 80);
      EXPECT_EQ(theirs.Decode(ids, SpecialTokens::kKeep), ours.Decode(ids, SpecialTokens::kKeep));
    }
  }
}

TEST(GgufVocabulary, SaysWhatTokensAre) {
  json document = Read("llama2");
  const GgufVocabulary scored = VocabularyOf(document);
  EXPECT_EQ(scored.tokens[1], "<s>");
  EXPECT_EQ(scored.token_types[0], kUnknownToken);
  EXPECT_EQ(scored.token_types[1], kControlToken);
  EXPECT_EQ(scored.tokens[3], "<0x00>");
  EXPECT_EQ(scored.token_types[3], kByteToken);
  EXPECT_EQ(scored.token_types.back(), kNormalToken);
  EXPECT_EQ(scored.scores.size(), scored.tokens.size());
  EXPECT_EQ(scored.unk, 0);
  EXPECT_EQ(scored.bos, 1);
  EXPECT_EQ(scored.eos, std::nullopt);
  EXPECT_EQ(scored.add_bos, true);
  EXPECT_EQ(scored.add_eos, false);
  EXPECT_EQ(scored.add_space_prefix, true);
  EXPECT_TRUE(scored.merges.empty());

  document = Read("smollm");
  const int32_t next = static_cast<int32_t>(document["model"]["vocab"].size());
  document["added_tokens"].push_back({{"id", next},
                                      {"content", "<user>"},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", false}});
  const GgufVocabulary bytes = VocabularyOf(document);
  EXPECT_EQ(bytes.tokens.back(), "<user>");
  EXPECT_EQ(bytes.token_types.back(), kUserDefinedToken);
  EXPECT_EQ(bytes.token_types[0], kControlToken);
  EXPECT_EQ(bytes.merges.size(), document["model"]["merges"].size());
  EXPECT_EQ(bytes.add_bos, false);
  EXPECT_EQ(bytes.bos, std::nullopt);
}

// What the format has no word for, one change to a good file each.
TEST(GgufVocabulary, RefusesWhatTheFormatCannotSay) {
  const auto refuse = [](const std::string& name, const std::vector<std::string>& parts,
                         const std::function<void(json&)>& change) {
    json document = Read(name);
    change(document);
    std::vector<std::string> all = parts;
    all.emplace_back("--vocabulary");
    ExpectError(ExitCode::kBadInput, all, [&] { VocabularyOf(document); });
  };
  refuse("smollm", {"pre_tokenizer"}, [](json& d) { d["model"]["ignore_merges"] = true; });
  refuse("smollm", {"pre_tokenizer"},
         [](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false; });
  refuse("smollm", {"pre_tokenizer"}, [](json& d) { d["normalizer"] = {{"type", "NFC"}}; });
  refuse("smollm", {"add_prefix_space"}, [](json& d) {
    d["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  });
  refuse("qwen2", {"normalizer"}, [](json& d) {
    d["normalizer"] = {{"type", "Prepend"}, {"prepend", "x"}};
  });
  refuse("llama2", {"byte_fallback"}, [](json& d) { d["model"]["byte_fallback"] = false; });
  refuse("llama2", {"spaces"}, [](json& d) { d["normalizer"] = nullptr; });
  refuse("llama2", {"spaces"}, [](json& d) { d["normalizer"]["normalizers"][0]["prepend"] = "a"; });
  refuse("llama2", {"merges"}, [](json& d) { d = ReadLmJson("llama2.json"); });
  refuse("llama2", {"merges"}, [](json& d) {
    // Two merges of one token with another's between them.
    auto& merges = d["model"]["merges"];
    std::map<std::string, size_t> first;
    for (size_t i = 0; i < merges.size(); ++i) {
      const std::string token = merges[i][0].get<std::string>() + merges[i][1].get<std::string>();
      if (!first.try_emplace(token, i).second) return std::swap(merges[i], merges.back());
    }
    FAIL() << "every token has one merge";
  });
  refuse("llama2", {"post_processor"}, [](json& d) {
    auto& single = d["post_processor"]["single"];
    single.insert(single.begin(), single[0]);
  });
}

TEST(GgufVocabulary, RefusesOtherTokenizers) {
  ExpectError(ExitCode::kBadInput, {"tokenizer.json", "BPE"},
              [] { ReadGgufVocabulary(TinyFolder("bert-base") / "tokenizer.json"); });
  ExpectError(ExitCode::kBadInput, {"tokenizer.json", "JSON"},
              [] { ParseGgufVocabulary("{", "tokenizer.json"); });
  ExpectError(ExitCode::kBadInput, {"none.json"}, [] { ReadGgufVocabulary("none.json"); });
}

}  // namespace
}  // namespace coppice
