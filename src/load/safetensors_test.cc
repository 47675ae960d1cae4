#include "load/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "load/handmade_safetensors.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

class SafetensorsTest : public HandmadeSafetensors {};

// ---- What is legal

TEST_F(SafetensorsTest, TakesEmptyFilesTensorsAndRankZero) {
  EXPECT_TRUE(Open(File("{}")).tensors().empty());
  EXPECT_TRUE(Open(File("{}      ")).metadata().empty());
  const SafetensorsFile file =
      Open(File("{\"z\":" + Entry("F32", "3,0,2", 0, 0) + ",\"a\":" + Entry("F32", "", 0, 4) +
                    ",\"e\":" + Entry("I64", "0", 4, 4) + "}",
                4));
  EXPECT_EQ(file.Get("z").sizes(), (at::IntArrayRef{3, 0, 2}));
  EXPECT_EQ(file.Get("a").dim(), 0);
  EXPECT_EQ(file.Get("e").scalar_type(), at::kLong);
}

TEST_F(SafetensorsTest, RefusesADtypeOnlyWhenTheTensorIsAskedFor) {
  const SafetensorsFile file =
      Open(File("{\"new\":" + Entry("F99", "3", 0, 7) + ",\"fp8\":" + Entry("F8_E4M3", "1", 7, 8) +
                    ",\"ok\":" + Entry("U8", "1", 8, 9) + "}",
                9));
  EXPECT_EQ(file.tensors().at("new").dtype, "F99");
  EXPECT_EQ(file.Get("ok").item<int64_t>(), 0);
  const auto message = [&file](const std::string& name) -> std::string {
    try {
      file.Get(name);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("new").find("tensor \"new\": unknown dtype: expected F64"), std::string::npos);
  EXPECT_NE(message("new").find("found F99"), std::string::npos);
  EXPECT_NE(message("fp8").find("tensor \"fp8\": unsupported dtype"), std::string::npos);
  EXPECT_NE(message("absent").find("no tensor \"absent\""), std::string::npos);
}

TEST_F(SafetensorsTest, RefusesBoolsOfOtherBytes) {
  const std::string header = "{\"t\":" + Entry("BOOL", "3", 0, 3) + "}";
  EXPECT_EQ(Open(Bytes(header.size(), header, {"\1\0\1", 3})).Get("t").sum().item<int64_t>(), 2);
  const SafetensorsFile file = Open(Bytes(header.size(), header, {"\1\0\2", 3}));
  EXPECT_THROW(file.Get("t"), Error);
}

TEST_F(SafetensorsTest, CopiesUnalignedDataAndViewsTheRest) {
  const float value = 1.5F;
  for (size_t spaces = 0; spaces < 4; ++spaces) {
    const std::string header = "{\"t\":" + Entry("F32", "", 0, 4) + "}" + std::string(spaces, ' ');
    std::string data(4, '\0');
    std::memcpy(data.data(), &value, 4);
    const SafetensorsFile file = Open(Bytes(header.size(), header, data));
    const at::Tensor first = file.Get("t");
    EXPECT_EQ(first.item<float>(), value);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first.const_data_ptr()) % 4, 0u);
    const bool viewed = first.const_data_ptr() == file.Get("t").const_data_ptr();
    EXPECT_EQ(viewed, (8 + header.size()) % 4 == 0) << spaces;
  }
}

TEST_F(SafetensorsTest, TensorsOutliveTheFile) {
  const std::map<std::string, at::Tensor> written = {{"t", at::arange(100000, at::kFloat)}};
  WriteSafetensors(path(), written);
  at::Tensor tensor = SafetensorsFile::Open(path()).Get("t");
  fs::remove(path());
  EXPECT_TRUE(at::equal(tensor, written.at("t")));
}

TEST_F(SafetensorsTest, ReadsWhatTheReferenceWrote) {
  const fs::path data = fs::path(COPPICE_SOURCE_DIR) / "testdata" / "safetensors";
  const SafetensorsFile file = SafetensorsFile::Open(data / "golden.safetensors");
  const auto golden = nlohmann::json::parse(ReadFile(data / "golden.json")).at("tensors");
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(file.tensors().size(), golden.size());
  for (const auto& [name, expected] : golden.items()) {
    EXPECT_EQ(file.tensors().at(name).dtype, expected.at("dtype").get<std::string>()) << name;
    const at::Tensor tensor = file.Get(name);
    EXPECT_EQ(tensor.sizes().vec(), expected.at("shape").get<std::vector<int64_t>>()) << name;
    const at::Tensor flat = tensor.flatten();
    ASSERT_EQ(static_cast<size_t>(flat.numel()), expected.at("values").size()) << name;
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const nlohmann::json& value = expected.at("values").at(static_cast<size_t>(i));
      if (tensor.scalar_type() == at::kLong) {
        EXPECT_EQ(flat[i].item<int64_t>(), value.get<int64_t>()) << name << " " << i;
      } else {
        EXPECT_EQ(flat[i].item<double>(), value.get<double>()) << name << " " << i;
      }
    }
  }
}

// ---- The writer

TEST_F(SafetensorsTest, WritesTheseBytes) {
  WriteSafetensors(path(),
                   {{"b", at::tensor({1, 2}, at::kByte)},
                    {"h", at::zeros({1}, at::kHalf)},
                    {"f\"", at::zeros({0, 2}, at::kFloat)},
                    {"a", at::scalar_tensor(7, at::kLong)}},
                   {{"made_by", "a test"}, {"format", "np"}});
  std::string header = R"({"__metadata__":{"format":"pt","made_by":"a test"})"
                       R"(,"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]})"
                       R"(,"f\"":{"dtype":"F32","shape":[0,2],"data_offsets":[8,8]})"
                       R"(,"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]})"
                       R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[10,12]}})";
  ASSERT_NE(header.size() % 8, 0u);  // the padding is seen
  header.append(8 - header.size() % 8, ' ');
  EXPECT_EQ(ReadFile(path()), Bytes(header.size(), header,
                                    {"\x07\0\0\0\0\0\0\0"
                                     "\0\0"
                                     "\1\2",
                                     12}));
}

TEST_F(SafetensorsTest, WritesWhatItReadsBack) {
  const std::map<std::string, at::Tensor> written = {{"double", at::randn({3, 4}, at::kDouble)},
                                                     {"transposed", at::randn({5, 7}).t()},
                                                     {"slice", at::randn({6, 6}).slice(1, 1, 4)},
                                                     {"grad", at::randn({2}).requires_grad_(true)},
                                                     {"expanded", at::ones({1}).expand({4})},
                                                     {"half", at::randn({3}).to(at::kHalf)},
                                                     {"bfloat", at::randn({3}).to(at::kBFloat16)},
                                                     {"long", at::arange(3, at::kLong)},
                                                     {"int", at::arange(3, at::kInt)},
                                                     {"short", at::arange(3, at::kShort)},
                                                     {"char", at::arange(3, at::kChar)},
                                                     {"byte", at::arange(3, at::kByte)},
                                                     {"bool", at::tensor({1, 0, 1}).to(at::kBool)},
                                                     {"empty", at::empty({0})},
                                                     {"scalar", at::scalar_tensor(2.5)}};
  WriteSafetensors(path(), written, {{"k", "v"}});
  const std::string bytes = ReadFile(path());
  const SafetensorsFile file = SafetensorsFile::Open(path());
  EXPECT_EQ(file.metadata().at("k"), "v");
  ASSERT_EQ(file.tensors().size(), written.size());
  for (const auto& [name, tensor] : written) {
    const at::Tensor read = file.Get(name);
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(read.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(read, tensor.detach())) << name;
  }
  // Over itself, from tensors that view it: the same bytes, and nothing beside it.
  std::map<std::string, at::Tensor> again;
  for (const auto& [name, info] : file.tensors()) again.emplace(name, file.Get(name));
  WriteSafetensors(path(), again, file.metadata());
  EXPECT_TRUE(ReadFile(path()) == bytes);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(SafetensorsTest, WriterRefusesOurOwnMistakes) {
  EXPECT_THROW(WriteSafetensors(path(), {{"t", at::zeros({1}, at::kComplexFloat)}}), InternalError);
  EXPECT_THROW(WriteSafetensors(path(), {{"t", at::Tensor()}}), InternalError);
  EXPECT_THROW(WriteSafetensors(path(), {{"__metadata__", at::zeros({1})}}), InternalError);
  EXPECT_THROW(WriteSafetensors(folder_ / "absent" / "x", {{"t", at::zeros({1})}}), Error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

// ---- Damage

// Every prefix of a good file, and every byte of it replaced, removed or doubled: each result opens
// and reads within bounds, or is refused by an Error. (Under the sanitizers this is the real test.)
TEST_F(SafetensorsTest, SurvivesEveryDamagedByte) {
  WriteSafetensors(path(), {{"a", at::randn({2, 3})},
                            {"b", at::ones({5}, at::kHalf)},
                            {"c", at::zeros({0, 4}, at::kLong)},
                            {"d", at::ones({3}, at::kBool)}});
  const std::string good = ReadFile(path());
  int opened = 0;
  int refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      const SafetensorsFile file = Open(bytes);
      for (const auto& [name, info] : file.tensors()) file.Get(name).clone();  // reads every byte
      ++opened;
    } catch (const Error&) {
      ++refused;
    }
  };
  for (size_t at = 0; at < good.size(); ++at) {
    attempt(good.substr(0, at));
    attempt(std::string(good).erase(at, 1));
    attempt(std::string(good).insert(at, 1, good[at]));
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      attempt(bytes);
    }
    for (const char c : {'\0', '\xff', '0', '9', '-', '"', '{', '}', '[', ']', ',', ':', '\\'}) {
      std::string bytes = good;
      bytes[at] = c;
      attempt(bytes);
    }
  }
  EXPECT_GT(opened, 300);  // damage in the numbers themselves cannot be seen
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace coppice
