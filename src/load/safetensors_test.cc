#include "load/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

// A file made by hand: length, header, data.
std::string Bytes(uint64_t length, std::string_view header, std::string_view data = {}) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data);
}
std::string File(std::string_view header, size_t data_size = 0) {
  return Bytes(header.size(), header, std::string(data_size, '\0'));
}
std::string Entry(std::string_view dtype, std::string_view shape, uint64_t begin, uint64_t end) {
  return fmt::format(R"({{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", dtype, shape, begin,
                     end);
}

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / fmt::format("coppice-{}-{}", info->name(), ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  SafetensorsFile Open(const std::string& bytes) const {
    fs::remove(path());  // some file systems flush a file that is truncated and written again
    std::ofstream(path(), std::ios::binary) << bytes;
    return SafetensorsFile::Open(path());
  }

  // Expects Open() to refuse `bytes` in one line that names the file and holds every part.
  void ExpectRefused(const std::string& bytes, const std::vector<std::string>& parts) const {
    try {
      Open(bytes);
      ADD_FAILURE() << "opened; wanted: " << parts.at(0);
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
      EXPECT_EQ(line.rfind(path().string() + ": ", 0), 0u) << line;
      for (const std::string& part : parts) {
        EXPECT_NE(line.find(part), std::string::npos) << "wanted: " << part << "\ngot: " << line;
      }
    }
  }
  // The same for a header that is one tensor "t" with this entry, over 8 bytes of data.
  void ExpectEntryRefused(const std::string& entry, std::vector<std::string> parts) const {
    parts.push_back("tensor \"t\"");
    ExpectRefused(File("{\"t\":" + entry + "}", 8), parts);
  }

  fs::path path() const { return folder_ / "model.safetensors"; }

  fs::path folder_;
};

// ---- The file and the text of its header

TEST_F(SafetensorsTest, RefusesAMissingFileAndAFolder) {
  EXPECT_THROW(SafetensorsFile::Open(folder_ / "absent"), Error);
  EXPECT_THROW(SafetensorsFile::Open(folder_), Error);
}

TEST_F(SafetensorsTest, RefusesAFileBelowEightBytes) {
  ExpectRefused("", {"too short", "expected at least 8 bytes, found 0"});
  ExpectRefused("1234567", {"too short", "found 7"});
}

TEST_F(SafetensorsTest, RefusesBadHeaderLengths) {
  ExpectRefused(Bytes(0, "{}"), {"the header is empty"});
  ExpectRefused(Bytes(100000001, "{}"), {"too long", "at most 100000000", "found 100000001"});
  ExpectRefused(Bytes(~uint64_t{0}, "{}"), {"too long", "found 18446744073709551615"});
  ExpectRefused(Bytes(3, "{}"), {"ends beyond the file", "expected 3 bytes of header, found 2"});
  ExpectRefused(Bytes(100000000, "{}"), {"ends beyond the file", "found 2"});
}

TEST_F(SafetensorsTest, RefusesTextThatIsNotUtf8) {
  for (const std::string bad :
       {"\xff", "\x80", "\xc0\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    ExpectRefused(File("{\"" + bad + "\":1}"), {"the header is not valid UTF-8", "at position 2"});
  }
  for (const std::string good : {"\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                 "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(
        Open(File("{\"" + good + "\":" + Entry("U8", "1", 0, 1) + "}", 1)).tensors().begin()->first,
        good);
  }
}

TEST_F(SafetensorsTest, RefusesTextThatIsNotAnObject) {
  ExpectRefused(File("[]"), {"not a JSON object", "'{' as its first byte, found 0x5b"});
  ExpectRefused(File(" {}"), {"'{' as its first byte, found 0x20"});
  ExpectRefused(File("\xef\xbb\xbf{}"), {"'{' as its first byte, found 0xef"});
}

TEST_F(SafetensorsTest, RefusesInvalidJson) {
  for (const char* bad : {"{", "{\"a\"}", "{} {}", "{}x", "{\"a\":1,}", "{\"a\":01}", "{\"a\":NaN}",
                          "{\"a\":1e999}", "{\"a\":\"\\ud800\"}", "{/**/}"}) {
    ExpectRefused(File(bad), {"the header is not valid JSON"});
  }
}

TEST_F(SafetensorsTest, RefusesDeepJson) {
  ExpectRefused(File("{\"a\":" + std::string(7, '[') + std::string(7, ']') + "}"),
                {"tensor \"a\": the entry is not a JSON object"});
  ExpectRefused(File("{\"a\":" + std::string(8, '[') + std::string(8, ']') + "}"),
                {"the header is nested too deeply", "at most 8 levels"});
  ExpectRefused(File("{\"a\":" + std::string(5000000, '[')), {"nested too deeply"});
}

TEST_F(SafetensorsTest, RefusesAFloodOfValues) {
  std::string header = "{\"a\":[0";
  for (int i = 0; i < 4000000; ++i) header += ",0";
  ExpectRefused(File(header + "]}"), {"the header is too large", "at most 4000000 JSON values"});
}

TEST_F(SafetensorsTest, RefusesEqualKeys) {
  const std::string entry = Entry("F32", "2", 0, 8);
  ExpectRefused(File("{\"a\":" + entry + ",\"a\":" + entry + "}", 8),
                {"the header holds a key twice", "found \"a\" again"});
  ExpectRefused(File("{\"a\":" + entry + ",\"\\u0061\":" + entry + "}", 8), {"\"a\" again"});
  ExpectRefused(
      File("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
      {"holds a key twice", "found \"dtype\" again inside \"t\""});
  ExpectRefused(File("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"),
                {"found \"k\" again inside \"__metadata__\""});
}

// ---- Entries

TEST_F(SafetensorsTest, RefusesEntriesWithOtherFields) {
  ExpectEntryRefused("[]", {"the entry is not a JSON object", "found array of 0"});
  ExpectEntryRefused("1", {"the entry is not a JSON object", "found 1"});
  ExpectEntryRefused(R"({"shape":[2],"data_offsets":[0,8]})", {"a field is missing", "\"dtype\""});
  ExpectEntryRefused(R"({"dtype":"F32","data_offsets":[0,8]})", {"missing", "\"shape\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2]})", {"missing", "\"data_offsets\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]})",
                     {"an unknown field", "found \"strides\""});
}

TEST_F(SafetensorsTest, RefusesFieldsOfOtherTypes) {
  ExpectEntryRefused(R"({"dtype":1,"shape":[2],"data_offsets":[0,8]})",
                     {"\"dtype\" is not a string"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})",
                     {"\"shape\" is not a list"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":8})", {"bad \"data_offsets\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", {"found array of 1"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", {"found array of 3"});
}

TEST_F(SafetensorsTest, RefusesNumbersThatAreNoSizes) {
  for (const char* bad : {"-1", "2.0", "2e0", "\"2\"", "null", "true", "9007199254740992",
                          "18446744073709551615", "18446744073709551616"}) {
    const std::vector<std::string> found = {"holds a bad number", "an integer from 0 to 2^53 - 1"};
    auto shape = found, begin = found, end = found;
    shape.push_back("\"shape\"");
    begin.push_back("\"data_offsets\"");
    end.push_back("\"data_offsets\"");
    ExpectEntryRefused(fmt::format(R"({{"dtype":"F32","shape":[{}],"data_offsets":[0,8]}})", bad),
                       shape);
    ExpectEntryRefused(fmt::format(R"({{"dtype":"F32","shape":[2],"data_offsets":[{},8]}})", bad),
                       begin);
    ExpectEntryRefused(fmt::format(R"({{"dtype":"F32","shape":[2],"data_offsets":[0,{}]}})", bad),
                       end);
  }
  ExpectEntryRefused(Entry("F32", "9007199254740991", 0, 8), {"expected 36028797018963964 bytes"});
}

TEST_F(SafetensorsTest, RefusesShapesThatOverflow) {
  const std::string big = "4294967296";  // 2^32
  ExpectEntryRefused(Entry("F32", big + "," + big, 0, 8),
                     {"the shape is too large", "4294967296, 4294967296"});
  // Every product below is 0 modulo 2^64; strides overflow even when there are no elements.
  ExpectEntryRefused(Entry("F32", big + "," + big + ",0", 0, 0), {"the shape is too large"});
  ExpectEntryRefused(Entry("F32", "0," + big + "," + big, 0, 0), {"the shape is too large"});
  // 2^61 elements of 64 bits.
  ExpectEntryRefused(Entry("I64", big + ",536870912", 0, 0),
                     {"the tensor is too large", "2^64 bits"});
}

TEST_F(SafetensorsTest, RefusesSizesThatDoNotFit) {
  ExpectEntryRefused(Entry("F32", "3", 0, 8),
                     {"do not fit", "expected 12 bytes for F32 [3], found 8"});
  ExpectEntryRefused(Entry("F16", "2", 0, 8), {"expected 4 bytes for F16 [2], found 8"});
  ExpectEntryRefused(Entry("F32", "", 0, 8), {"expected 4 bytes for F32 [], found 8"});
  ExpectEntryRefused(Entry("F32", "0", 0, 8), {"expected 0 bytes for F32 [0], found 8"});
  ExpectEntryRefused(Entry("F6_E2M3", "3", 0, 3), {"does not fill whole bytes", "found 18 bits"});
  ExpectEntryRefused(Entry("F32", "2", 8, 0), {"reversed", "found [8, 0]"});
}

TEST_F(SafetensorsTest, RefusesMoreThanTheCaps) {
  std::string ones = "1";
  for (int i = 1; i < 16; ++i) ones += ",1";
  EXPECT_EQ(Open(File("{\"t\":" + Entry("U8", ones, 0, 1) + "}", 1)).Get("t").dim(), 16);
  ExpectEntryRefused(Entry("U8", ones + ",1", 0, 1),
                     {"too many dimensions", "at most 16, found 17"});

  const auto named = [](size_t length) {
    return File("{\"" + std::string(length, 'n') + "\":" + Entry("U8", "1", 0, 1) + "}", 1);
  };
  EXPECT_EQ(Open(named(1024)).tensors().size(), 1u);
  ExpectRefused(named(1025), {"the name is too long", "at most 1024 bytes, found 1025"});

  std::string many = "{\"__metadata__\":{}";
  for (int i = 0; i < 100000; ++i) many += fmt::format(",\"{}\":{}", i, Entry("U8", "0", 0, 0));
  EXPECT_EQ(Open(File(many + "}")).tensors().size(), 100000u);
  ExpectRefused(File(many + ",\"more\":" + Entry("U8", "0", 0, 0) + "}"),
                {"too many tensors", "at most 100000, found 100001"});
}

TEST_F(SafetensorsTest, RefusesMetadataThatIsNotStrings) {
  ExpectRefused(File("{\"__metadata__\":[]}"), {"\"__metadata__\" is not a JSON object"});
  for (const char* bad : {"1", "null", "[]", "{}", "true"}) {
    ExpectRefused(File(fmt::format("{{\"__metadata__\":{{\"k\":{}}}}}", bad)),
                  {"\"__metadata__\" holds more than strings: \"k\"", "expected a string"});
  }
}

// ---- The layout of the data

TEST_F(SafetensorsTest, RefusesHolesAndOverlaps) {
  const auto two = [](const std::string& a, const std::string& b, size_t data) {
    return File("{\"a\":" + a + ",\"b\":" + b + "}", data);
  };
  ExpectRefused(
      two(Entry("F32", "1", 4, 8), Entry("F32", "1", 8, 12), 12),
      {"tensor \"a\": there is a hole", "byte 0, after the start of the data, found byte 4"});
  ExpectRefused(
      two(Entry("F32", "1", 0, 4), Entry("F32", "1", 8, 12), 12),
      {"tensor \"b\": there is a hole", "expected byte 4, after tensor \"a\", found byte 8"});
  ExpectRefused(
      two(Entry("F32", "2", 0, 8), Entry("F32", "1", 4, 8), 8),
      {"tensor \"b\": the data overlaps", "expected byte 8, after tensor \"a\", found byte 4"});
  ExpectRefused(two(Entry("F32", "1", 0, 4), Entry("F32", "1", 0, 4), 4), {"overlaps"});
  ExpectRefused(two(Entry("F32", "2", 0, 8), Entry("F32", "0", 4, 4), 8),
                {"tensor \"b\": the data overlaps"});
}

TEST_F(SafetensorsTest, RefusesAFileThatEndsElsewhere) {
  const std::string header = "{\"a\":" + Entry("F32", "2", 0, 8) + "}";
  const size_t whole = 8 + header.size() + 8;
  ExpectRefused(File(header, 7),
                {"cut short", fmt::format("expected {} bytes, found {}", whole, whole - 1)});
  ExpectRefused(File(header, 0), {"cut short"});
  ExpectRefused(File(header, 9),
                {"bytes follow", fmt::format("expected {} bytes, found {}", whole, whole + 1)});
  ExpectRefused(File("{}", 1), {"bytes follow the last tensor", "expected 10 bytes, found 11"});
  ExpectRefused(File("{\"a\":" + Entry("F99", "2", 0, 9007199254740991) + "}"), {"cut short"});
}

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
