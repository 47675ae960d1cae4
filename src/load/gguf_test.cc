#include "load/gguf.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"
#include "load/gguf_dequantize.h"
#include "load/gguf_testing.h"
#include "load/gguf_writer.h"

namespace coppice {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path Golden(const std::string& name) { return SourceDir() / "testdata" / "gguf" / name; }

class GgufTest : public HandmadeGgufTest {};

// ---- What the reference wrote

json DecodeAs(const GgufValue& value, const std::string& type) {
  if (type == "STRING" && value.is_array()) return *value.As<std::vector<std::string>>();
  if (type == "STRING") return *value.As<std::string>();
  if (type == "F32" || type == "F64") {
    return value.is_array() ? json(*value.As<std::vector<double>>()) : json(*value.As<double>());
  }
  if (type == "BOOL" && !value.is_array()) return *value.As<bool>();
  if (value.is_array()) return *value.As<std::vector<int64_t>>();
  return type[0] == 'U' ? json(*value.As<uint64_t>()) : json(*value.As<int64_t>());
}

TEST_F(GgufTest, ReadsTheReferencesValues) {
  const GgufFile file = GgufFile::Open(Golden("golden.gguf"));
  const json golden = ReadJson(Golden("golden.json")).at("values");
  EXPECT_EQ(file.metadata().size(), golden.size() + 1);
  EXPECT_EQ(file.Require<std::string>("general.architecture"), "none");
  for (const auto& [key, expected] : golden.items()) {
    const GgufValue* const value = file.FindValue(key);
    ASSERT_NE(value, nullptr) << key;
    const auto type = expected[0].get<std::string>();
    json wanted = expected[1];
    EXPECT_EQ(value->is_array(), wanted.is_array()) << key;
    EXPECT_TRUE(value->Describe().ends_with(type)) << value->Describe();
    if (key == "bools") wanted = {1, 0, 1};
    EXPECT_EQ(DecodeAs(*value, type), wanted) << key;
  }
}

// Equal bits, or both no numbers.
void ExpectSameNumbers(const at::Tensor& found, const float* expected, const std::string& name) {
  const at::Tensor flat = found.contiguous();
  const float* const numbers = flat.const_data_ptr<float>();
  int wrong = 0;
  for (int64_t i = 0; i < flat.numel() && wrong < 5; ++i) {
    const bool same = std::memcmp(numbers + i, expected + i, sizeof(float)) == 0 ||
                      (std::isnan(numbers[i]) && std::isnan(expected[i]));
    EXPECT_TRUE(same) << name << " " << i << ": " << numbers[i] << ", not " << expected[i];
    wrong += same ? 0 : 1;
  }
}

TEST_F(GgufTest, DequantisesAsTheReferenceDoes) {
  const GgufFile file = GgufFile::Open(Golden("golden.gguf"));
  const std::string bytes = ReadFile(Golden("golden.f32"));
  std::vector<float> expected(bytes.size() / sizeof(float));
  std::memcpy(expected.data(), bytes.data(), bytes.size());
  size_t at = 0;
  const json tensors = ReadJson(Golden("golden.json")).at("tensors");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const GgufTensorInfo& info = file.tensors()[i];
    EXPECT_EQ(info.name, tensors[i][0].get<std::string>());
    EXPECT_EQ(FindGgmlType(info.type)->name, tensors[i][1].get<std::string>());
    EXPECT_EQ(info.shape, tensors[i][2].get<std::vector<int64_t>>());
    if (FindGgufDequantizer(info.type) == nullptr) continue;
    const at::Tensor numbers = file.Get(info.name);
    EXPECT_EQ(numbers.sizes().vec(), info.shape);
    ASSERT_LE(at + static_cast<size_t>(numbers.numel()), expected.size());
    ExpectSameNumbers(numbers, expected.data() + at, info.name);
    at += static_cast<size_t>(numbers.numel());
  }
  EXPECT_EQ(at, expected.size());
}

TEST_F(GgufTest, HandsOutPlainTensorsAsTheyLie) {
  const GgufFile file = GgufFile::Open(Golden("golden.gguf"));
  const at::Tensor plain = file.Get("F32");
  EXPECT_EQ(plain.scalar_type(), at::kFloat);
  EXPECT_EQ(plain.const_data_ptr(), file.Get("F32").const_data_ptr());  // not copied
  EXPECT_TRUE(at::equal(file.Get("F16"), plain[0].to(at::kHalf)));
  EXPECT_TRUE(at::equal(file.Get("BF16"), plain.narrow(1, 0, 4).to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(file.Get("rank 4"), at::arange(120, at::kFloat).view({2, 3, 4, 5})));
}

TEST_F(GgufTest, RefusesATypeOnlyWhenTheTensorIsAskedFor) {
  const GgufFile file = GgufFile::Open(Golden("golden.gguf"));
  const auto expect = [&file](const std::string& name, const std::vector<std::string>& parts) {
    ExpectError(ExitCode::kBadInput, parts, [&] { file.Get(name); });
  };
  expect("IQ4_NL", {"golden.gguf: tensor \"IQ4_NL\": unsupported type", "Q6_K", "found IQ4_NL"});
  expect("I32", {"tensor \"I32\": unsupported type", "found I32"});
  expect("F64", {"tensor \"F64\": unsupported type", "found F64"});
  expect("absent", {"golden.gguf: no tensor \"absent\""});
}

TEST_F(GgufTest, CopiesUnalignedDataAndViewsTheRest) {
  for (uint32_t shift = 0; shift < 4; ++shift) {
    const HandmadeGguf made = {.values = {KeyValue("general.alignment", 4, Bits(1u)),
                                          KeyValue("k", 8, Text(std::string(shift, 'x')))},
                               .tensors = {TensorEntry("t", {1}, 0, 0)},
                               .data = Bits(1.5F),
                               .alignment = 1};
    const bool aligned = (made.Bytes().size() - 4) % 4 == 0;
    const GgufFile file = Open(made);
    const at::Tensor first = file.Get("t");
    EXPECT_EQ(first.item<float>(), 1.5F);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first.const_data_ptr()) % 4, 0u);
    EXPECT_EQ(first.const_data_ptr() == file.Get("t").const_data_ptr(), aligned) << shift;
  }
}

TEST_F(GgufTest, TensorsOutliveTheFile) {
  const at::Tensor written = at::arange(100000, at::kFloat);
  WriteGguf(path(), {}, {{"t", written}});
  const at::Tensor tensor = GgufFile::Open(path()).Get("t");
  fs::remove(path());
  EXPECT_TRUE(at::equal(tensor, written));
}

// ---- Values

TEST_F(GgufTest, ValuesOfTheWrongKindAreRefusedByName) {
  const GgufFile file =
      Open(HandmadeGguf{.values = {
                            KeyValue("a.u32", 4, Bits(7u)),
                            KeyValue("a.i32", 5, Bits(-7)),
                            KeyValue("a.text", 8, Text("seven")),
                            KeyValue("a.list", 9, Array(5, 1, Bits(-7))),
                            KeyValue("a.u64s", 9, Array(10, 1, Bits(~uint64_t{0}))),
                            KeyValue("a.none", 9, Array(6, 0)),
                        }});
  EXPECT_EQ(file.Require<uint64_t>("a.u32"), 7u);
  EXPECT_EQ(file.Require<int64_t>("a.i32"), -7);
  EXPECT_EQ(file.Optional<std::string>("a.text"), "seven");
  EXPECT_EQ(file.Optional<double>("absent"), std::nullopt);
  EXPECT_TRUE(file.Require<std::vector<std::string>>("a.none").empty());
  const auto expect = [](const std::vector<std::string>& parts, auto work) {
    ExpectError(ExitCode::kBadInput, parts, work);
  };
  const std::string where = path().string() + ": key ";
  expect({where + "\"absent\": the key is missing", "expected an integer from 0 on"},
         [&] { file.Require<uint64_t>("absent"); });
  expect({where + "\"a.i32\": the value is of the wrong kind", "an integer from 0 on", "found I32"},
         [&] { file.Require<uint64_t>("a.i32"); });
  expect({"\"a.text\"", "expected F32 or F64, found STRING"},
         [&] { file.Optional<double>("a.text"); });
  expect({"expected BOOL, found U32"}, [&] { file.Require<bool>("a.u32"); });
  expect({"expected STRING, found U32"}, [&] { file.Require<std::string>("a.u32"); });
  expect({"expected an integer, found an array of 1 I32"},
         [&] { file.Require<int64_t>("a.list"); });
  expect({"expected an array of integers, found U32"},
         [&] { file.Require<std::vector<int64_t>>("a.u32"); });
  expect({"expected an array of integers, found an array of 1 U64"},
         [&] { file.Require<std::vector<int64_t>>("a.u64s"); });
  expect({"expected an array of STRING, found an array of 1 I32"},
         [&] { file.Require<std::vector<std::string>>("a.list"); });
  expect({"expected an array of F32 or F64, found an array of 1 I32"},
         [&] { file.Require<std::vector<double>>("a.list"); });
}

TEST_F(GgufTest, ValuesReadBackFromWhatTheyAreMadeOf) {
  const GgufValue list = GgufValue::From(std::vector<int32_t>{3, -1});
  EXPECT_EQ(list.bytes(), Array(5, 2, Bits(3) + Bits(-1)));
  EXPECT_EQ(list.As<std::vector<int64_t>>(), (std::vector<int64_t>{3, -1}));
  EXPECT_EQ(GgufValue::From(uint32_t{5}), GgufValue(GgufValueType::kU32, Bits(5u)));
  EXPECT_EQ(GgufValue::From(int32_t{-5}).As<int64_t>(), -5);
  EXPECT_EQ(GgufValue::From(uint64_t{5}).Describe(), "U64");
  EXPECT_EQ(GgufValue::From(0.5F).As<double>(), 0.5);
  EXPECT_EQ(GgufValue::From(true).As<bool>(), true);
  EXPECT_EQ(GgufValue::From(std::string("a\0b", 3)).As<std::string>(), std::string("a\0b", 3));
  EXPECT_EQ(GgufValue::From(std::vector<float>{0.5F}).As<std::vector<double>>(),
            std::vector<double>{0.5});
  const std::vector<std::string> texts = {"", "a", "naïve"};
  EXPECT_EQ(GgufValue::From(texts).As<std::vector<std::string>>(), texts);
  EXPECT_NE(GgufValue::From(uint32_t{5}), GgufValue::From(int32_t{5}));
}

// ---- Damage

// A file with a value of most kinds and tensors of three types; the last one fills its padding.
HandmadeGguf SmallFile() {
  return {.values = {KeyValue("general.alignment", 4, Bits(32u)), KeyValue("flag", 7, "\1"),
                     KeyValue("text", 8, Text("naïve")),
                     KeyValue("texts", 9, Array(8, 2, Text("a") + Text(""))),
                     KeyValue("nested", 9, Array(9, 1, Array(7, 2, std::string("\0\1", 2))))},
          .tensors = {TensorEntry("a", {3, 2}, 0, 0), TensorEntry("b", {32}, 8, 32),
                      TensorEntry("c", {16}, 1, 96)},
          .data = std::string(128, '\5')};
}

TEST_F(GgufTest, RefusesEveryTruncation) {
  const std::string good = SmallFile().Bytes();
  Open(good);
  for (size_t size = 0; size < good.size(); ++size) ExpectBytesRefused(good.substr(0, size), {});
}

// Every byte of a good file replaced, removed or doubled, and every four and eight bytes of its
// header overwritten with numbers that are hard to handle: each result opens and reads within
// bounds, or is refused by an Error. (Under the sanitizers this is the real test.)
TEST_F(GgufTest, SurvivesEveryDamagedByte) {
  const std::string good = SmallFile().Bytes();
  int opened = 0;
  int refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      const GgufFile file = Open(bytes);
      for (const auto& [key, value] : file.metadata()) {
        value.Describe();
        value.As<std::vector<int64_t>>();
        value.As<std::vector<std::string>>();
      }
      for (const GgufTensorInfo& info : file.tensors()) file.Get(info.name).clone();
      ++opened;
    } catch (const Error&) {
      ++refused;
    }
  };
  const auto overwrite = [&](size_t at, const std::string& piece) {
    if (at + piece.size() <= good.size())
      attempt(std::string(good).replace(at, piece.size(), piece));
  };
  const size_t header = good.size() - 128;
  for (size_t at = 0; at < header + 8; ++at) {
    attempt(std::string(good).erase(at, 1));
    attempt(std::string(good).insert(at, 1, good[at]));
    for (int bit = 0; bit < 8; ++bit) {
      overwrite(at, {static_cast<char>(good[at] ^ (1 << bit))});
    }
    for (const uint32_t word : {0u, 1u, 9u, 31u, 0x7FFFFFFFu, 0x80000000u, ~0u}) {
      overwrite(at, Bits(word));
    }
    for (const int shift : {31, 32, 36, 59, 60, 61, 62, 63}) {
      overwrite(at, Bits(uint64_t{1} << shift));
      overwrite(at, Bits((uint64_t{1} << shift) - 1));
      overwrite(at, Bits(~(uint64_t{1} << shift)));
    }
  }
  EXPECT_GT(opened, 300);  // damage in names and values cannot be seen
  EXPECT_GT(refused, 5000);
}

}  // namespace
}  // namespace coppice
