// Real tokenizers on real data, against the digests in testdata/tokenizers/real.json.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "tokenize/tokenizer_testing.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path FolderOr(const char* variable, const fs::path& otherwise) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? fs::path(value) : otherwise;
}

struct Limits {
  size_t pair;
  size_t question;
};

Encoding EncodeRow(const Tokenizer& tokenizer, const json& row, Limits limits) {
  const auto text = [&row](const char* key) -> const std::string& {
    return row[key].get_ref<const std::string&>();
  };
  if (row.contains("question")) {
    return tokenizer.Encode(text("question"), text("context"), limits.question);
  }
  if (row.contains("text_pair")) {
    return tokenizer.Encode(text("text"), text("text_pair"), limits.pair);
  }
  return tokenizer.Encode(text("text"), std::nullopt, std::numeric_limits<size_t>::max());
}

void ExpectGoldenDigests(const Tokenizer& tokenizer, const fs::path& data, const json& digests,
                         const json& golden) {
  std::ifstream file(data);
  ASSERT_TRUE(file) << data;
  const Limits limits = {.pair = golden["limits"]["pair"],
                         .question = golden["limits"]["question"]};
  const auto block_size = golden["block"].get<size_t>();
  std::string line;
  size_t rows = 0;
  for (const json& expected : digests) {
    Digest digest;
    for (size_t i = 0; i < block_size && std::getline(file, line); ++i, ++rows) {
      const Encoding encoding = EncodeRow(tokenizer, json::parse(line), limits);
      digest.AddList<int32_t>(encoding.ids);
      digest.AddList<int32_t>(encoding.type_ids);
    }
    EXPECT_EQ(digest.Hex(), expected.get<std::string>())
        << data.filename() << ", up to row " << rows;
  }
  EXPECT_EQ(rows, golden["files"][data.filename().string()]["rows"].get<size_t>());
}

void CheckRealTokenizer(const std::string& model) {
  const fs::path source(COPPICE_SOURCE_DIR);
  const fs::path folder = FolderOr("COPPICE_MODELS", source / "build" / "models") / model;
  const fs::path data = FolderOr("COPPICE_SHARED", source / ".." / "shared") / "data";
  if (!fs::exists(folder / "tokenizer.json")) GTEST_SKIP() << "needs the model " << folder;
  if (!fs::exists(data)) GTEST_SKIP() << "needs ../shared/data";
  const Tokenizer tokenizer = Tokenizer::Load(folder / "tokenizer.json");
  const json golden = ReadTestJson("real.json");
  for (const auto& [name, file] : golden["files"].items()) {
    ExpectGoldenDigests(tokenizer, data / name, file["digests"][model], golden);
  }
}

TEST(RealTokenizers, Minilm) { CheckRealTokenizer("minilm"); }
TEST(RealTokenizers, Mpnet) { CheckRealTokenizer("mpnet"); }

}  // namespace
}  // namespace coppice
