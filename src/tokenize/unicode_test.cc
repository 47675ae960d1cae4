#include "tokenize/unicode.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tokenize/bert_normalizer.h"
#include "tokenize/pre_tokenizer.h"
#include "tokenize/tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;
using Numbers = std::vector<uint32_t>;

Numbers CodePoints(std::string_view text) {
  Numbers numbers;
  for (size_t i = 0; i < text.size();) numbers.push_back(NextCodePoint(text, i));
  return numbers;
}

// Where `split` cuts, in characters.
Numbers Cuts(void (*split)(std::string_view, std::vector<ByteRange>&), std::string_view text) {
  std::vector<ByteRange> words;
  split(text, words);
  Numbers numbers;
  for (const ByteRange word : words) {
    for (const uint32_t place : {word.begin, word.end}) {
      numbers.push_back(static_cast<uint32_t>(CodePoints(text.substr(0, place)).size()));
    }
  }
  return numbers;
}

BertNormalizer MakeNormalizer(const json& changes) {
  json document = ReadTestJson("wordpiece.json")["normalizer"];
  document.update(changes);
  return BertNormalizer(JsonNode(document, "test", ""));
}

// Each character C of the golden ranges as "aCb", against the tokenizers library.
TEST(UnicodeTest, EveryCharacter) {
  const json golden = ReadTestJson("unicode.json");
  const BertNormalizer normalizer = MakeNormalizer(json::object());
  const BertNormalizer accents_kept = MakeNormalizer({{"strip_accents", false}});
  std::map<std::string, std::map<std::string, Digest>> digests;
  for (const json& range : golden["ranges"]) {
    for (auto c = range[0].get<char32_t>(); c <= range[1].get<char32_t>(); ++c) {
      std::string text = "a";
      AppendUtf8(c, text);
      text += 'b';
      const std::string block = fmt::format("{:x}", static_cast<uint32_t>(c) >> 12);
      const auto add = [&](const char* kind, const Numbers& numbers) {
        digests[kind][block].AddList<uint32_t>(numbers);
      };
      add("normalized", CodePoints(normalizer.Normalize(text, 0).bytes));
      add("accents kept", CodePoints(accents_kept.Normalize(text, 0).bytes));
      add("bert", Cuts(SplitAsBert, text));
      add("gpt2", Cuts(SplitAsGpt2, text));
    }
  }
  ASSERT_EQ(golden["digests"].size(), 4U);
  for (const auto& [kind, blocks] : golden["digests"].items()) {
    for (const auto& [block, expected] : blocks.items()) {
      EXPECT_EQ(digests[kind][block].Hex(), expected.get<std::string>())
          << kind << ", code points from " << block << "000";
    }
  }
}

TEST(UnicodeTest, CodePointsThereAndBack) {
  for (const char32_t c : {U'\0', U'a', U'\x7F', U'\x80', U'\u07FF', U'\u0800', U'\uD7FF',
                           U'\uE000', U'\uFFFF', U'\U00010000', U'\U0010FFFF'}) {
    std::string text = "x";
    AppendUtf8(c, text);
    EXPECT_TRUE(IsValidUtf8(text));
    size_t forward = 1;
    EXPECT_EQ(NextCodePoint(text, forward), c);
    EXPECT_EQ(forward, text.size());
    size_t backward = text.size();
    EXPECT_EQ(PreviousCodePoint(text, backward), c);
    EXPECT_EQ(backward, 1U);
  }
}

TEST(UnicodeTest, RepairReplacesMaximalSequences) {
  for (const char* const bad :
       {"\x80", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    EXPECT_FALSE(IsValidUtf8(bad));
  }
  const RepairedText repaired = RepairUtf8("a\xE2\x82z\xFF");
  EXPECT_EQ(repaired.bytes, "a\uFFFDz\uFFFD");
  EXPECT_EQ(repaired.origin, (std::vector<uint32_t>{0, 1, 1, 1, 3, 4, 4, 4, 5}));
  // Cut off inside: what is left is one sequence, whatever would have followed.
  EXPECT_EQ(RepairUtf8(std::string_view("\xF0\x9F\x98\x80", 3)).bytes, "\uFFFD");
}

TEST(UnicodeTest, WordCharacters) {
  for (const char32_t c : std::u32string_view(U"aZ09_\u00e9\u0301\u200d\u6771\u0663")) {
    EXPECT_TRUE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : std::u32string_view(U" -.<\u00a0\u2028\u00bd\u20ac\U0001f600")) {
    EXPECT_FALSE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
}

}  // namespace
}  // namespace coppice
