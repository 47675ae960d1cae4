#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "testdata.h"
#include "tokenize/lm_tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;

struct Case {
  const char* path;  // JSON pointer
  json value;        // what to put there
  const char* part;  // what the refusal says
};

void ExpectRefused(const std::string& base, const std::vector<Case>& cases) {
  const json document = ReadLmJson(base);
  for (const Case& each : cases) {
    json changed = document;
    changed[json::json_pointer(each.path)] = each.value;
    ExpectError(ExitCode::kBadInput, {"tokenizer.json", each.part},
                [&] { LoadTestTokenizer(changed); });
  }
}

json Component(const std::string& type) { return {{"type", type}}; }

TEST(LmTokenizerRefusal, UnknownComponentsByName) {
  const json byte_level = ReadLmJson("qwen2.json")["pre_tokenizer"]["pretokenizers"][1];
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const auto sequence = [](const json& list) -> json {
    return {{"type", "Sequence"}, {"pretokenizers", list}};
  };
  const json metaspace = {{"type", "Metaspace"}, {"replacement", "\u2581"}};
  ExpectRefused(
      "qwen2.json",
      {{"/normalizer/type", "NFKC", "normalizer: \"NFKC\""},
       {"/normalizer",
        {{"type", "Sequence"},
         {"normalizers", {Component("NFC"), ReadTestJson("wordpiece.json")["normalizer"]}}},
        "\"Sequence of NFC, BertNormalizer\""},
       {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{L}+", "\"\\p{L}+\" is not supported"},
       {"/pre_tokenizer/pretokenizers/0/pattern", {{"String", " "}}, "\" \" is not supported"},
       {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", "\"Removed\""},
       {"/pre_tokenizer/pretokenizers/0/behavior", "MergedWithNext", "\"MergedWithNext\""},
       {"/pre_tokenizer/pretokenizers/0/type", "Whitespace", "\"Sequence of Whitespace, ByteLevel"},
       {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "\"add_prefix_space\""},
       {"/pre_tokenizer", sequence(json::array({digits})), "\"Digits\""},
       {"/pre_tokenizer", sequence({byte_level, digits}), "\"Sequence of ByteLevel, Digits\""},
       {"/pre_tokenizer", sequence({byte_level, byte_level}), "Sequence of ByteLevel, ByteLevel"},
       {"/pre_tokenizer", sequence({metaspace, byte_level}), "\"Sequence of Metaspace, ByteLevel"},
       {"/pre_tokenizer", sequence(json::array()), "\"Sequence of nothing\""},
       {"/model/byte_fallback", true, "\"byte_fallback\""}});
  ExpectRefused(
      "llama3.json",
      {{"/post_processor/processors/0/type", "BertProcessing", "Sequence of BertProcessing, Temp"},
       {"/post_processor/processors", json::array(), "\"Sequence of nothing\""},
       {"/post_processor/processors/1/special_tokens/<|begin_of_text|>/ids/0", 9999, "id 9999"}});
  ExpectRefused(
      "llama2.json",
      {{"/normalizer/normalizers/0/type", "Strip", "\"Sequence of Strip, Replace\""},
       {"/normalizer/normalizers/1/pattern", {{"Regex", " +"}}, "\" +\" is not supported"},
       {"/normalizer/normalizers/1/pattern", {{"String", ""}}, "the pattern is empty"},
       {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}}, "\"_\""},
       {"/pre_tokenizer",
        {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "last"}},
        "\"last\""},
       {"/pre_tokenizer",
        {{"type", "Metaspace"},
         {"replacement", "\u2581"},
         {"prepend_scheme", "first"},
         {"add_prefix_space", false}},
        "disagree"},
       {"/model/ignore_merges", true, "\"ignore_merges\""}});
}

TEST(LmTokenizerRefusal, UnknownDecodersWhenUsed) {
  for (const char* const type : {"WordPiece", "BPEDecoder", "CTC"}) {
    json document = ReadLmJson("llama2.json");
    document["decoder"]["decoders"][1] = Component(type);
    const Tokenizer tokenizer = LoadTestTokenizer(document);
    const std::vector<int32_t> ids = Ids(tokenizer.Tokenize("a"));
    ExpectError(ExitCode::kBadInput, {"decoder", type},
                [&] { tokenizer.Decode(ids, SpecialTokens::kKeep); });
  }
}

// Loads and, where that works, uses the file: anything but an Error is a failure.
void UseOrThrowError(const std::string& content) {
  try {
    const Tokenizer tokenizer = Tokenizer::Parse(content, "tokenizer.json");
    const Encoding encoding = tokenizer.Encode("The <s>12 walk\u2581 \xff.\n", "e\u0301 東", 1000);
    tokenizer.Decode(encoding.ids, SpecialTokens::kSkip);
  } catch (const Error&) {
  }
}

TEST(LmTokenizerRefusal, EveryValueReplaced) {
  const std::vector<json> values = {nullptr,       true,          -1, 0, 1e300, "", "A", "\u2581",
                                    json::array(), json::object()};
  for (const char* const base : {"smollm.json", "llama3.json", "qwen2.json", "llama2.json"}) {
    const json document = ReadLmJson(base);
    const json flat = document.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      // A few tokens and merges stand for all.
      const bool is_list =
          pointer.starts_with("/model/vocab/") || pointer.starts_with("/model/merges/");
      if (is_list && std::hash<std::string>{}(pointer) % 128 != 0) continue;
      for (json::json_pointer path(pointer); !path.empty(); path = path.parent_pointer()) {
        for (const json& other : values) {
          json changed = document;
          changed[path] = other;
          UseOrThrowError(changed.dump());
        }
      }
    }
  }
}

TEST(LmTokenizerRefusal, BrokenFiles) {
  std::mt19937 random(11);
  for (const char* const base : {"smollm.json", "llama3.json", "qwen2.json", "llama2.json"}) {
    const std::string content = ReadLmJson(base).dump();
    for (int i = 0; i < 300; ++i) {
      std::string broken = content;
      for (int k = 0; k < 3; ++k) broken[random() % broken.size()] = static_cast<char>(random());
      UseOrThrowError(broken);
    }
  }
}

}  // namespace
}  // namespace coppice
