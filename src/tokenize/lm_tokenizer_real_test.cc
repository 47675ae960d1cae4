// SmolLM2's own vocabulary on real data, against the digests in testdata/tokenize-lm/real.json. The
// vocabulary is read from build/models/smollm2/vocabulary.json (or in COPPICE_MODELS), which
// tools/make_lm_tokenizer_goldens.py writes from the model's GGUF file.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <vector>

#include "tokenize/lm_tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path FolderOr(const char* variable, const fs::path& otherwise) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? fs::path(value) : otherwise;
}

GgufVocabulary ReadVocabulary(const fs::path& path) {
  const json file = json::parse(ReadFile(path));
  const auto id = [&file](const char* key) -> std::optional<int32_t> {
    return file[key].is_null() ? std::nullopt : std::optional(file[key].get<int32_t>());
  };
  const auto flag = [&file](const char* key) -> std::optional<bool> {
    return file[key].is_null() ? std::nullopt : std::optional(file[key].get<bool>());
  };
  return {.model = file["model"],
          .pre = file["pre"],
          .tokens = file["tokens"],
          .token_types = file["token_types"],
          .merges = file["merges"],
          .bos = id("bos"),
          .eos = id("eos"),
          .unk = id("unk"),
          .pad = id("pad"),
          .add_bos = flag("add_bos"),
          .add_eos = flag("add_eos"),
          .add_space_prefix = flag("add_space_prefix")};
}

// The texts of a data file: all of a .txt, or the text fields of each row in order.
std::vector<std::string> ReadTexts(const fs::path& path) {
  if (path.extension() == ".txt") return {ReadFile(path)};
  std::vector<std::string> texts;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const json row = json::parse(line);
    for (const char* const key : {"text", "text_pair", "question", "context"}) {
      if (row.contains(key)) texts.push_back(row[key]);
    }
  }
  return texts;
}

TEST(RealLmTokenizers, Smollm2) {
  const fs::path source(COPPICE_SOURCE_DIR);
  const fs::path vocabulary =
      FolderOr("COPPICE_MODELS", source / "build" / "models") / "smollm2" / "vocabulary.json";
  const fs::path data = FolderOr("COPPICE_SHARED", source / ".." / "shared") / "data";
  if (!fs::exists(vocabulary)) GTEST_SKIP() << "needs the vocabulary " << vocabulary;
  if (!fs::exists(data)) GTEST_SKIP() << "needs ../shared/data";
  const Tokenizer tokenizer = MakeGgufTokenizer(ReadVocabulary(vocabulary), "smollm2");
  EXPECT_EQ(tokenizer.NumSpecial(false), 0U);
  EXPECT_EQ(tokenizer.VocabularySize(), 49152);
  const json golden = ReadLmJson("real.json");
  for (const auto& [name, expected] : golden["files"].items()) {
    Digest digest;
    size_t count = 0;
    const std::vector<std::string> texts = ReadTexts(data / name);
    for (const std::string& text : texts) {
      const std::vector<int32_t> ids = Ids(tokenizer.Tokenize(text));
      digest.AddList<int32_t>(ids);
      count += ids.size();
      EXPECT_EQ(tokenizer.Decode(ids, SpecialTokens::kKeep), text) << name;
    }
    EXPECT_EQ(texts.size(), expected["texts"].get<size_t>()) << name;
    EXPECT_EQ(count, expected["tokens"].get<size_t>()) << name;
    EXPECT_EQ(digest.Hex(), expected["digest"].get<std::string>()) << name;
  }
}

}  // namespace
}  // namespace coppice
