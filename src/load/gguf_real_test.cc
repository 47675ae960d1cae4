// A real GGUF file against the digests in testdata/gguf/smollm2.json.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/file.h"
#include "load/gguf.h"
#include "load/gguf_writer.h"
#include "testdata.h"

namespace coppice {
namespace {

TEST(RealGguf, Smollm2) {
  const nlohmann::json golden = ReadJson(SourceDir() / "testdata" / "gguf" / "smollm2.json");
  const auto path = RealModels() / "smollm2" / golden.at("file").get<std::string>();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs the model " << path;
  const GgufFile file = GgufFile::Open(path);
  EXPECT_EQ(file.metadata().size(), golden.at("values").get<size_t>());
  ASSERT_EQ(file.tensors().size(), golden.at("tensors").size());
  for (const GgufTensorInfo& info : file.tensors()) {
    const at::Tensor numbers = file.Get(info.name);
    ASSERT_EQ(numbers.scalar_type(), at::kFloat);
    const std::string digest = Sha256Hex({static_cast<const char*>(numbers.const_data_ptr()),
                                          static_cast<size_t>(numbers.nbytes())});
    EXPECT_EQ(digest.substr(0, 16), golden.at("tensors").at(info.name).get<std::string>())
        << info.name;
  }
}

// The values pass through unchanged: as many bytes as in the file, and the same.
TEST(RealGguf, ValuesPassThrough) {
  const nlohmann::json golden = ReadJson(SourceDir() / "testdata" / "gguf" / "smollm2.json");
  const auto path = RealModels() / "smollm2" / golden.at("file").get<std::string>();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs the model " << path;
  const TempFolder folder;
  WriteGguf(folder.path() / "values.gguf", GgufFile::Open(path).metadata(), {});
  const std::string original = ReadFile(path);
  std::string written = ReadFile(folder.path() / "values.gguf");
  written.replace(8, 8, original, 8, 8);                  // the number of tensors
  const size_t end = written.find_last_not_of('\0') + 1;  // the padding
  EXPECT_TRUE(std::string_view(original).starts_with(std::string_view(written).substr(0, end)));
  EXPECT_GT(end, 1000000u);
}

}  // namespace
}  // namespace coppice
