// Small vocabularies by hand; lm_tokenizer_test.cc has the goldens.
#include "tokenize/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "testdata.h"
#include "tokenize/byte_bpe.h"
#include "tokenize/lm_tokenizer_testing.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

// All bytes, "ab" and "123"; <bos> is control, <user> is user-defined.
GgufVocabulary ByteVocabulary(const std::string& pre) {
  GgufVocabulary vocabulary = {.model = "gpt2", .pre = pre};
  for (const char32_t c : ByteAlphabet()) AppendUtf8(c, vocabulary.tokens.emplace_back());
  vocabulary.tokens.insert(vocabulary.tokens.end(),
                           {"ab", "12", "123", "<bos>", "<user>", "\u0120ab"});
  vocabulary.token_types.assign(vocabulary.tokens.size(), 1);
  vocabulary.token_types[259] = 3;
  vocabulary.token_types[260] = 4;
  vocabulary.merges = {"a b", "1 2", "12 3"};
  vocabulary.bos = 259;
  return vocabulary;
}

// Scores by hand: "ab" is better than "bc", which is better than "abc".
GgufVocabulary ScoredVocabulary() {
  return {.model = "llama",
          .tokens = {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "c", "bc", "ab", "abc", "aa"},
          .token_types = {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
          .scores = {0, 0, 0, -9, -9, -9, -9, -2, -1, -3, -1},
          .bos = 1,
          .eos = 2};
}

std::vector<int32_t> IdsOf(const GgufVocabulary& vocabulary, std::string_view text) {
  return Ids(MakeGgufTokenizer(vocabulary, "model.gguf").Tokenize(text));
}

std::vector<std::string> WordsOf(const std::string& pre, const std::string& text) {
  // Without merges, every byte is a token; offsets tell nothing of words. So each pair is a merge.
  GgufVocabulary vocabulary = ByteVocabulary(pre);
  std::string joined;
  for (const char byte : text) {
    std::string spelled;
    AppendUtf8(ByteAlphabet()[static_cast<uint8_t>(byte)], spelled);
    for (size_t begin = 0; begin < joined.size();) {
      const std::string left = joined.substr(begin);
      vocabulary.merges.push_back(left + " " + spelled);
      for (const std::string& token : {left, left + spelled}) {
        if (std::count(vocabulary.tokens.begin(), vocabulary.tokens.end(), token) == 0) {
          vocabulary.tokens.push_back(token);
        }
      }
      NextCodePoint(joined, begin);
    }
    joined += spelled;
  }
  vocabulary.token_types.clear();
  std::vector<std::string> words;
  for (const Token& token : MakeGgufTokenizer(vocabulary, "model.gguf").Tokenize(text)) {
    words.push_back(text.substr(token.begin, token.end - token.begin));
  }
  return words;
}

using Words = std::vector<std::string>;

TEST(GgufTokenizerTest, WordsOfEachPreTokenizer) {
  const std::string text = "i'M $-1234 x\n\n";
  EXPECT_EQ(WordsOf("gpt-2", text), (Words{"i", "'", "M", " $-", "1234", " x", "\n\n"}));
  EXPECT_EQ(WordsOf("smollm", text),
            (Words{"i", "'", "M", " $-", "1", "2", "3", "4", " x", "\n\n"}));
  EXPECT_EQ(WordsOf("llama-bpe", text), (Words{"i", "'M", " $-", "123", "4", " x", "\n\n"}));
  EXPECT_EQ(WordsOf("qwen2", text), (Words{"i", "'M", " $-", "1", "2", "3", "4", " x", "\n\n"}));
  const Words by_default = {"i", "'", "M", " ", "$-", "123", "4", " x", "\n\n"};
  EXPECT_EQ(WordsOf("default", text), by_default);
  EXPECT_EQ(WordsOf("", text), by_default);
}

TEST(GgufTokenizerTest, WholeTokensWithoutMerges) {
  // No merge forms the last token; Llama 3 takes it all the same.
  EXPECT_EQ(IdsOf(ByteVocabulary("llama-bpe"), "ab ab"), (std::vector<int32_t>{256, 261}));
  EXPECT_EQ(IdsOf(ByteVocabulary("gpt-2"), "ab ab"), (std::vector<int32_t>{256, 0x20, 256}));
}

TEST(GgufTokenizerTest, AddedTokensInText) {
  const Tokenizer tokenizer = MakeGgufTokenizer(ByteVocabulary("gpt-2"), "model.gguf");
  const std::vector<int32_t> ids = Ids(tokenizer.Tokenize("a<bos><user>b"));
  EXPECT_EQ(ids, (std::vector<int32_t>{'a', 259, 260, 'b'}));
  EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kKeep), "a<bos><user>b");
  EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kSkip), "a<user>b");
}

TEST(GgufTokenizerTest, BestScoreFirst) {
  EXPECT_EQ(IdsOf(ScoredVocabulary(), "abc"), (std::vector<int32_t>{3, 9}));
  EXPECT_EQ(IdsOf(ScoredVocabulary(), "bc"), (std::vector<int32_t>{3, 7}));
  // "aa" and "ab" are as good: the leftmost.
  EXPECT_EQ(IdsOf(ScoredVocabulary(), "aab"), (std::vector<int32_t>{3, 10, 5}));
  EXPECT_EQ(IdsOf(ScoredVocabulary(), "aaab"), (std::vector<int32_t>{3, 10, 8}));
  GgufVocabulary worse = ScoredVocabulary();
  worse.token_types[9] = 5;  // unused: never formed
  EXPECT_EQ(IdsOf(worse, "abc"), (std::vector<int32_t>{3, 8, 6}));
  worse.scores[8] = -4;
  EXPECT_EQ(IdsOf(worse, "abc"), (std::vector<int32_t>{3, 4, 7}));
}

TEST(GgufTokenizerTest, UnknownCharacters) {
  EXPECT_EQ(IdsOf(ScoredVocabulary(), "a?!b"), (std::vector<int32_t>{3, 4, 0, 5}));
  GgufVocabulary none = ScoredVocabulary();
  none.token_types[0] = 1;
  EXPECT_EQ(IdsOf(none, "a?!b"), (std::vector<int32_t>{3, 8}));
  GgufVocabulary bytes = ScoredVocabulary();
  bytes.tokens.insert(bytes.tokens.end(), {"<0xC3>", "<0xA9>"});
  bytes.token_types.insert(bytes.token_types.end(), {6, 6});
  bytes.scores.resize(13);
  EXPECT_EQ(IdsOf(bytes, "a\u00e9b"), (std::vector<int32_t>{3, 4, 11, 12, 5}));
}

TEST(GgufTokenizerTest, EndsAndSpaceInFront) {
  GgufVocabulary vocabulary = ScoredVocabulary();
  const auto encode = [&] {
    const Tokenizer tokenizer = MakeGgufTokenizer(vocabulary, "model.gguf");
    EXPECT_EQ(tokenizer.Decode(Ids(tokenizer.Tokenize(" a")), SpecialTokens::kKeep), " a");
    return tokenizer.Encode("a", std::nullopt, kNoLimit).ids;
  };
  EXPECT_EQ(encode(), (std::vector<int32_t>{1, 3, 4}));
  vocabulary.add_bos = false;
  vocabulary.add_eos = true;
  vocabulary.add_space_prefix = false;
  EXPECT_EQ(encode(), (std::vector<int32_t>{4, 2}));
  const auto starts = [](const GgufVocabulary& bytes) {
    return MakeGgufTokenizer(bytes, "model.gguf").NumSpecial(false);
  };
  EXPECT_EQ(starts(ByteVocabulary("gpt-2")), 0U);
  EXPECT_EQ(starts(ByteVocabulary("llama-bpe")), 1U);
}

TEST(GgufTokenizerTest, LongTexts) {
  // One word of a million letters each: quadratic work would take hours.
  const std::string letters(1 << 20, 'a');
  const std::string spaces = std::string(1 << 20, ' ') + "\n";
  std::string marks;
  for (int i = 0; i < 1 << 18; ++i) AppendUtf8(i % 2 == 0 ? 0x301 : 0x323, marks);
  for (const std::string& text : {letters, spaces, marks}) {
    for (const char* const pre : {"gpt-2", "qwen2", "default"}) {
      const Tokenizer tokenizer = MakeGgufTokenizer(ByteVocabulary(pre), "model.gguf");
      const std::string back =
          tokenizer.Decode(Ids(tokenizer.Tokenize(text)), SpecialTokens::kKeep);
      EXPECT_EQ(back.size(), text.size());
    }
    EXPECT_FALSE(IdsOf(ScoredVocabulary(), text).empty());
  }
}

TEST(GgufTokenizerTest, RefusedWhenItDoesNotFit) {
  const auto expect_refused = [](const GgufVocabulary& vocabulary, const std::string& part) {
    ExpectError(ExitCode::kBadInput, {"model.gguf", part},
                [&] { MakeGgufTokenizer(vocabulary, "model.gguf"); });
  };
  const auto changed = [&](const GgufVocabulary& from, auto change, const std::string& part) {
    GgufVocabulary vocabulary = from;
    change(vocabulary);
    expect_refused(vocabulary, part);
  };
  const GgufVocabulary bytes = ByteVocabulary("gpt-2");
  const GgufVocabulary scored = ScoredVocabulary();
  using V = GgufVocabulary;
  changed(
      bytes, [](V& v) { v.model = "t5"; }, "\"t5\" is not supported");
  changed(
      bytes, [](V& v) { v.model = ""; }, "expected gpt2 or llama");
  changed(
      bytes, [](V& v) { v.pre = "tekken"; }, "\"tekken\" is not supported");
  changed(
      bytes, [](V& v) { v.tokens.clear(); }, "bad number of tokens");
  changed(
      bytes, [](V& v) { v.token_types.pop_back(); }, "tokens and their types");
  changed(
      bytes, [](V& v) { v.token_types[3] = 7; }, "token 3 has an unknown type");
  changed(
      bytes, [](V& v) { v.token_types[3] = -1; }, "expected 1 to 6, found -1");
  changed(
      bytes, [](V& v) { v.tokens[5] = "\xff"; }, "token 5 is not UTF-8");
  changed(
      bytes, [](V& v) { v.tokens[5] = "ab"; }, "tokens 5 and 256 are the same");
  changed(
      bytes, [](V& v) { v.bos = 262; }, "special token 262 is not in the vocabulary");
  changed(
      bytes, [](V& v) { v.eos = -1; }, "special token -1 is not in the vocabulary");
  changed(
      bytes, [](V& v) { v.merges.emplace_back("ab"); }, "bad merge 3");
  changed(
      bytes, [](V& v) { v.merges.emplace_back("a b c"); }, "bad merge 3");
  changed(
      bytes, [](V& v) { v.merges.emplace_back("ab ab"); }, "not in the vocabulary, \"abab\"");
  changed(
      bytes, [](V& v) { v.add_space_prefix = true; }, "add_space_prefix");
  changed(
      bytes, [](V& v) { v.add_eos = true; }, "there is no eos_token_id");
  changed(
      scored, [](V& v) { v.scores.pop_back(); }, "tokens and their scores");
  changed(
      scored, [](V& v) { v.scores[2] = std::numeric_limits<float>::quiet_NaN(); },
      "the score of token 2 is not a number");
  changed(
      scored, [](V& v) { v.tokens[9] = std::string(2000, 'x'); }, "token 9 is too long");
}

}  // namespace
}  // namespace coppice
