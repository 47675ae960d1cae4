#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "tokenize/tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

// Expects a one-line refusal that names the file and holds `part`.
void ExpectRefused(const std::string& content, const std::string& part) {
  try {
    Tokenizer::Parse(content, "tokenizer.json");
    ADD_FAILURE() << "loaded; wanted: " << part;
  } catch (const Error& error) {
    const std::string line = error.what();
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << line;
    EXPECT_NE(line.find("tokenizer.json"), std::string::npos) << line;
    EXPECT_NE(line.find(part), std::string::npos) << line << "\n  wanted: " << part;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
}

json Component(const std::string& type) { return {{"type", type}}; }

struct Case {
  const char* path;  // JSON pointer
  json value;        // what to put there
  const char* part;  // what the refusal says
};

void ExpectRefused(const std::string& base, const std::vector<Case>& cases) {
  const json document = ReadTestJson(base);
  for (const Case& each : cases) {
    json changed = document;
    changed[json::json_pointer(each.path)] = each.value;
    ExpectRefused(changed.dump(), each.part);
  }
}

TEST(TokenizerRefusal, UnknownComponentsByName) {
  ExpectRefused(
      "wordpiece.json",
      {{"/version", "2.0", "\"2.0\""},
       {"/normalizer", Component("NFKC"), "normalizer: \"NFKC\""},
       {"/normalizer", Component("Precompiled"), "\"Precompiled\""},
       {"/normalizer",
        {{"type", "Sequence"}, {"normalizers", {Component("NFD"), Component("Lowercase")}}},
        "\"Sequence of NFD, Lowercase\""},
       {"/normalizer",
        {{"type", "Sequence"}, {"normalizers", {Component("StripAccents")}}},
        "\"StripAccents\""},
       {"/normalizer",
        {{"type", "Sequence"}, {"normalizers", json::array()}},
        "\"Sequence of nothing\""},
       {"/pre_tokenizer", Component("Metaspace"), "pre_tokenizer: \"Metaspace\""},
       {"/pre_tokenizer", Component("ByteLevel"), "\"ByteLevel\""},
       {"/pre_tokenizer", nullptr, "there is no pre_tokenizer"},
       {"/post_processor", Component("Sequence"), "post_processor: \"Sequence\""},
       {"/model/type", "Unigram", "model: \"Unigram\""},
       {"/model/type", "WordLevel", "\"WordLevel\""}});
  ExpectRefused("byte_bpe.json",
                {{"/pre_tokenizer", Component("Whitespace"), "\"Whitespace\""},
                 {"/pre_tokenizer", Component("BertPreTokenizer"), "\"BertPreTokenizer\""},
                 {"/model/dropout", 0.1, "\"dropout\""},
                 {"/model/continuing_subword_prefix", "##", "\"continuing_subword_prefix\""},
                 {"/model/end_of_word_suffix", "</w>", "\"end_of_word_suffix\""},
                 {"/model/byte_fallback", true, "\"byte_fallback\""}});
}

TEST(TokenizerRefusal, BadModels) {
  ExpectRefused("wordpiece.json",
                {{"/model", nullptr, "\"model\" is missing"},
                 {"/model", 3, "expected an object"},
                 {"/model/vocab", json::array(), "model.vocab"},
                 {"/model/vocab/the", -1, "bad id of token \"the\""},
                 {"/model/vocab/the", 1.5, "bad id of token \"the\""},
                 {"/model/vocab/the", "7", "bad id of token \"the\""},
                 {"/model/vocab/the", 1 << 22, "bad id of token \"the\""},
                 {"/model/vocab/the", 18446744073709551615U, "bad id of token \"the\""},
                 {"/model/vocab/the", 0, "has the id 0"},
                 {"/model/unk_token", "[NONE]", "\"[NONE]\" is not in the vocabulary"},
                 {"/model/unk_token", nullptr, "\"unk_token\" is missing"},
                 {"/model/max_input_chars_per_word", -1, "model.max_input_chars_per_word"},
                 {"/model/continuing_subword_prefix", 3, "expected a string, found 3"}});
  ExpectRefused("byte_bpe.json",
                {{"/model/unk_token", "[NONE]", "\"[NONE]\" is not in the vocabulary"},
                 {"/model/merges", nullptr, "\"merges\" is missing"},
                 {"/model/merges/0", "a", "model.merges[0]: bad merge"},
                 {"/model/merges/0", "a b c", "bad merge"},
                 {"/model/merges/0", {"a"}, "bad merge"},
                 {"/model/merges/0", {"a", 3}, "expected a string, found 3"},
                 {"/model/merges/3", {"a", "[NONE]"}, "not in the vocabulary, \"a[NONE]\""},
                 {"/model/merges/3", "[NO NE]", "not in the vocabulary, \"[NONE]\""}});
}

TEST(TokenizerRefusal, BadAddedTokens) {
  ExpectRefused("wordpiece.json", {{"/added_tokens", {{"[PAD]", 0}}, "expected an array"},
                                   {"/added_tokens/2/id", -2, "added_tokens[2].id"},
                                   {"/added_tokens/2/id", 3,
                                    "expected 2 (its id in the model's vocabulary), found 3"},
                                   {"/added_tokens/2/id", 4000000000U, "added_tokens[2].id"},
                                   {"/added_tokens/2/content", "<new>", "the next free id"},
                                   {"/added_tokens/2/content", 5, "expected a string"},
                                   {"/added_tokens/2/lstrip", nullptr, "\"lstrip\" is missing"}});
  json twice = ReadTestJson("wordpiece.json");
  twice["added_tokens"].push_back(twice["added_tokens"][4]);
  ExpectRefused(twice.dump(), "\"[MASK]\" or its id 4 exists already");
  json nothing_left = ReadTestJson("wordpiece.json");
  nothing_left["added_tokens"].push_back(nothing_left["added_tokens"][4]);
  nothing_left["added_tokens"][5].update(
      {{"content", "\u0301"}, {"normalized", true}, {"id", nothing_left["model"]["vocab"].size()}});
  nothing_left["model"]["vocab"].erase("\u0301");
  ExpectRefused(nothing_left.dump(), "nothing is left");
}

TEST(TokenizerRefusal, BadPostProcessors) {
  const json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  ExpectRefused("wordpiece.json",
                {{"/post_processor/single", {a, a}, "found A 2 times"},
                 {"/post_processor/pair", {a}, "sequences A and B once each"},
                 {"/post_processor/single/1/Sequence/id", "C", "\"C\""},
                 {"/post_processor/single/0", json::object(), "\"SpecialToken\" is missing"},
                 {"/post_processor/single/0/SpecialToken/id", "[NONE]", "\"[NONE]\" is missing"},
                 {"/post_processor/pair/3/Sequence/type_id", -1, "type_id"},
                 {"/post_processor/special_tokens/[CLS]/ids/0", 100000, "id 100000 is not in"}});
  ExpectRefused("byte_bpe.json", {{"/post_processor/sep", "</s>", "post_processor.sep"},
                                  {"/post_processor/sep/1", -1, "post_processor.sep[1]"},
                                  {"/post_processor/cls/1", 99999, "id 99999 is not in"},
                                  {"/post_processor/trim_offsets", "yes", "true or false"}});
}

TEST(TokenizerRefusal, NotJson) {
  ExpectRefused("", "not JSON");
  ExpectRefused("version https://git-lfs.github.com/spec/v1\n", "not JSON");
  ExpectRefused("[]", "expected an object");
  ExpectRefused("\"\\ud800\"", "not JSON");
  ExpectRefused("{\"model\": \"\xff\"}", "not JSON");
  ExpectRefused(std::string(100000, '['), "not JSON");
  EXPECT_THROW(Tokenizer::Load("no/such/tokenizer.json"), Error);
}

// Loads and, where that works, uses the file: anything but an Error is a failure.
bool LoadsOrThrowsError(const std::string& content) {
  try {
    const Tokenizer tokenizer = Tokenizer::Parse(content, "tokenizer.json");
    tokenizer.Encode("The walker isn't [MASK] <mask> \xff.", "Café 東京", 1000);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(TokenizerRefusal, EveryValueReplaced) {
  const std::vector<json> values = {nullptr,
                                    true,
                                    -1,
                                    0,
                                    1.5,
                                    1e300,
                                    4194303,
                                    "",
                                    "A",
                                    "\"#",
                                    json::array(),
                                    json::object(),
                                    json::array({json::array()})};
  for (const char* const base : {"wordpiece.json", "byte_bpe.json"}) {
    const json document = ReadTestJson(base);
    const json flat = document.flatten();
    size_t tried = 0;
    for (const auto& [pointer, value] : flat.items()) {
      // A few tokens and merges stand for all.
      const bool is_list =
          pointer.starts_with("/model/vocab/") || pointer.starts_with("/model/merges/");
      if (is_list && std::hash<std::string>{}(pointer) % 64 != 0) continue;
      for (json::json_pointer path(pointer); !path.empty(); path = path.parent_pointer()) {
        for (const json& other : values) {
          json changed = document;
          changed[path] = other;
          LoadsOrThrowsError(changed.dump());
          ++tried;
        }
      }
    }
    EXPECT_GT(tried, 1000U);
  }
}

TEST(TokenizerRefusal, CutAndBrokenFiles) {
  std::mt19937 random(7);
  for (const char* const base : {"wordpiece.json", "byte_bpe.json"}) {
    const std::string content = ReadTestJson(base).dump();
    for (size_t size = 0; size < content.size(); size += 101) {
      EXPECT_FALSE(LoadsOrThrowsError(content.substr(0, size))) << size;
    }
    for (int i = 0; i < 500; ++i) {
      std::string broken = content;
      for (int k = 0; k < 3; ++k) broken[random() % broken.size()] = static_cast<char>(random());
      LoadsOrThrowsError(broken);
    }
  }
}

}  // namespace
}  // namespace coppice
