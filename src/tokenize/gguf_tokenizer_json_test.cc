// A tokenizer.json made of a GGUF vocabulary gives the vocabulary's own ids.
#include "tokenize/gguf_tokenizer_json.h"

#include <gtest/gtest.h>

#include <limits>

#include "testdata.h"
#include "tokenize/gguf_vocabulary.h"
#include "tokenize/lm_tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

// Texts that tokenizers trip over: these, and those of the goldens.
std::vector<std::string> HostileTexts() {
  std::vector<std::string> texts = {
      " ",
      "  two  spaces ",
      "\n\n\t \r\n end",
      "I'll we'RE it's 'S",
      "1234567890 12.5 ٣٤٥ ½",
      "naïve café Ångström e\u0301 \u212B",
      "日本語 한국어 ไทย हिन्दी",
      "😀👩‍👩‍👧‍👦🇩🇪",
      "<|im_start|>user\n<|im_end|><|endoftext|> <|im_start|",
      "a\u00A0b\u200Bc\u2028d\u3000e",
      "!?!?...,,,;;--==$$++<<>>^~|",
      "snake_case camelCase HTTPServer x=1;y\t=2",
      std::string("nul \0 byte", 10),
      "\xEF\xBB\xBFmark",
  };
  const json goldens = ReadLmJson("goldens.json");
  for (const auto& [name, text] : goldens["texts"].items()) texts.push_back(ExpandText(text));
  return texts;
}

// The vocabularies of committed tokenizers of byte-level BPE.
std::vector<GgufVocabulary> Vocabularies() {
  std::vector<GgufVocabulary> list;
  for (const char* name : {"llama3", "qwen2", "smollm"}) {
    const json file = ReadLmJson(std::string(name) + ".json");
    list.push_back(ParseGgufVocabulary(file.dump(), name));
  }
  list.push_back(list.back());
  list.back().pre = "gpt-2";
  return list;
}

TEST(TokenizerJson, GivesTheIdsOfTheVocabulary) {
  for (GgufVocabulary vocabulary : Vocabularies()) {
    for (const bool ends : {false, true}) {
      SCOPED_TRACE(vocabulary.pre + (ends ? " with ends" : ""));
      vocabulary.bos = 0;
      vocabulary.eos = 1;
      vocabulary.add_bos = ends;
      vocabulary.add_eos = ends;
      const Tokenizer from_gguf = MakeGgufTokenizer(vocabulary, "test.gguf");
      const TokenizerJson written = MakeTokenizerJson(vocabulary, "test.gguf");
      EXPECT_EQ(written.problem, "");
      const TempFolder folder;
      WriteFile(folder.path() / "tokenizer.json", written.text);
      const Tokenizer from_json = Tokenizer::Load(folder.path() / "tokenizer.json");
      for (const std::string& text : HostileTexts()) {
        const Encoding expected = from_gguf.Encode(text, std::nullopt, kNoLimit);
        EXPECT_EQ(from_json.Encode(text, std::nullopt, kNoLimit).ids, expected.ids) << text;
        EXPECT_EQ(from_json.Decode(expected.ids, SpecialTokens::kKeep),
                  from_gguf.Decode(expected.ids, SpecialTokens::kKeep))
            << text;
      }
    }
  }
}

TEST(TokenizerJson, SaysWhatItCannotSay) {
  GgufVocabulary vocabulary = Vocabularies().front();
  vocabulary.pre = "default";
  EXPECT_EQ(MakeTokenizerJson(vocabulary, "x").text, "");
  EXPECT_NE(MakeTokenizerJson(vocabulary, "x").problem.find("\"default\""), std::string::npos);
  vocabulary.merges.push_back("no such");
  ExpectError(ExitCode::kBadInput, {"x.gguf"}, [&] { MakeTokenizerJson(vocabulary, "x.gguf"); });
}

TEST(TokenizerJson, NamesSpecialTokensAndTheChatTemplate) {
  GgufVocabulary vocabulary = Vocabularies().front();
  vocabulary.bos = 0;
  vocabulary.eos = 2;
  const json config = json::parse(MakeTokenizerConfig(vocabulary, 2048, "{{ messages }}"));
  EXPECT_EQ(config["bos_token"], vocabulary.tokens[0]);
  EXPECT_EQ(config["eos_token"], vocabulary.tokens[2]);
  EXPECT_FALSE(config.contains("pad_token"));
  EXPECT_EQ(config["chat_template"], "{{ messages }}");
  EXPECT_EQ(config["model_max_length"], 2048);
}

}  // namespace
}  // namespace coppice
