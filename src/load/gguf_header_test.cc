#include "load/gguf_header.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "load/gguf_testing.h"

namespace coppice {
namespace {

class GgufHeaderTest : public HandmadeGgufTest {};

constexpr uint64_t kHuge = uint64_t{1} << 63;
constexpr uint32_t kU8 = 0, kU32 = 4, kBool = 7, kString = 8, kArray = 9;
constexpr uint32_t kF32 = 0, kF16 = 1, kQ4 = 2, kQ6 = 14;

// ---- The first 24 bytes

TEST_F(GgufHeaderTest, RefusesWhatIsNoGgufFile) {
  EXPECT_THROW(GgufFile::Open(folder_.path() / "absent"), Error);
  EXPECT_THROW(GgufFile::Open(folder_.path()), Error);
  ExpectBytesRefused(std::string(),
                     {"ends inside the first four bytes", "expected 4 bytes", "found 0"});
  ExpectBytesRefused(std::string("GGU"), {"ends inside the first four bytes", "found 3"});
  ExpectBytesRefused(std::string("GGUD\3\0\0\0", 8),
                     {"not a GGUF file", "\"GGUF\"", "found 0x47475544"});
  ExpectBytesRefused(std::string("GGUF"), {"ends inside the version"});
}

TEST_F(GgufHeaderTest, TakesVersions2And3) {
  EXPECT_TRUE(Open(HandmadeGguf{.version = 2}).tensors().empty());
  EXPECT_TRUE(Open(HandmadeGguf{.version = 3}).tensors().empty());
  ExpectRefused({.version = 0}, {"unknown GGUF version", "expected version 2 or 3", "found 0"});
  ExpectRefused({.version = 1}, {"GGUF version 1, which is not supported", "convert the model"});
  ExpectRefused({.version = 4}, {"unknown GGUF version", "found 4"});
  ExpectRefused({.version = 0x03000000}, {"big-endian", "found version 3, big-endian"});
  ExpectRefused({.version = 0x02000000}, {"big-endian", "found version 2, big-endian"});
}

TEST_F(GgufHeaderTest, RefusesCountsBeyondTheFile) {
  const auto counts = [](uint64_t tensors, uint64_t values) {
    return "GGUF" + Bits(3) + Bits(tensors) + Bits(values);
  };
  EXPECT_TRUE(Open(counts(0, 0)).metadata().empty());
  ExpectBytesRefused(counts(100001, 0), {"too many tensors", "at most 100000, found 100001"});
  ExpectBytesRefused(counts(kHuge, 0), {"too many tensors", "found 9223372036854775808"});
  ExpectBytesRefused(counts(0, 100001), {"too many values", "at most 100000, found 100001"});
  ExpectBytesRefused(counts(0, ~uint64_t{0}), {"too many values", "found 18446744073709551615"});
  ExpectBytesRefused(
      counts(100000, 100000),
      {"ends inside the header", "expected 3700000 bytes from byte 24 on, found 0 bytes"});
  ExpectBytesRefused(counts(1, 0) + std::string(23, '\0'), {"ends inside the header", "24 bytes"});
  ExpectBytesRefused(counts(0, 1) + std::string(12, '\0'), {"ends inside the header", "13 bytes"});
}

// ---- Metadata

TEST_F(GgufHeaderTest, RefusesBadKeys) {
  const auto keyed = [](const std::string& key) {
    return HandmadeGguf{.values = {KeyValue(key, kU8, "x")}};
  };
  EXPECT_EQ(Open(keyed(std::string(65535, 'k'))).metadata().size(), 1u);
  ExpectRefused(keyed(std::string(65536, 'k')), {"a key is too long", "at most 65535", "65536"});
  ExpectRefused(keyed(""), {"a key is empty"});
  ExpectRefused({.values = {KeyValue("k", kU8, "x"), KeyValue("k", kU32, "xxxx")}},
                {"key \"k\": the key stands there twice"});
  ExpectBytesRefused(
      "GGUF" + Bits(3) + Bits<uint64_t>(0) + Bits<uint64_t>(1) + Bits(kHuge) + "kkkkkkkk",
      {"ends inside a key", "expected 9223372036854775808 bytes", "found 8 bytes"});
}

TEST_F(GgufHeaderTest, RefusesNamesThatAreNotUtf8) {
  for (const std::string bad :
       {"\xff", "\x80", "\xc0\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x82q"}) {
    ExpectRefused({.values = {KeyValue("ab" + bad, kU8, "x")}},
                  {"a key is not valid UTF-8", "at position 2"});
    ExpectRefused({.tensors = {TensorEntry("a" + bad + "b", {}, kF32, 0)}, .data = "1234"},
                  {"a tensor's name is not valid UTF-8", "at position 1"});
  }
  for (const std::string good : {"\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                 "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(Open(HandmadeGguf{.values = {KeyValue(good, kU8, "x")}}).metadata()[0].first, good);
  }
}

TEST_F(GgufHeaderTest, RefusesUnknownTypesOfValues) {
  ExpectValueRefused(13, "12345678", {"unknown type of value", "expected 0 to 12, found 13"});
  ExpectValueRefused(~0u, "12345678", {"unknown type of value", "found 4294967295"});
  ExpectValueRefused(kArray, Array(13, 0), {"unknown type of value", "found 13"});
}

TEST_F(GgufHeaderTest, RefusesValuesBeyondTheFile) {
  ExpectValueRefused(kU32, "123", {"ends inside the value", "expected 1 of 4 bytes each"});
  ExpectValueRefused(kString, Bits<uint64_t>(4) + "123",
                     {"ends inside the value", "found 3 bytes"});
  ExpectValueRefused(kString, Bits(kHuge) + "123", {"expected 9223372036854775808 bytes"});
  ExpectValueRefused(kArray, Array(kU32, 2, "1234567"), {"expected 2 of 4 bytes each"});
  // Products that are small modulo 2^64.
  ExpectValueRefused(kArray, Array(kU32, uint64_t{1} << 62, "1234"), {"ends inside the value"});
  ExpectValueRefused(kArray, Array(kU32, (uint64_t{1} << 62) + 1, "1234"), {"ends inside"});
  ExpectValueRefused(kArray, Array(kString, kHuge, Text("a")), {"ends inside the value"});
  ExpectValueRefused(kArray, Array(kString, 2, Text("abcdefgh")), {"ends inside the value"});
  ExpectValueRefused(kArray, Array(kArray, kHuge, "1234"), {"ends inside the value"});
  ExpectValueRefused(kArray, "1234" + std::string(4, '\0'),
                     {"ends inside the value", "12 bytes each"});
}

TEST_F(GgufHeaderTest, RefusesBoolsOfOtherBytes) {
  EXPECT_TRUE(Open(HandmadeGguf{.values = {KeyValue("k", kBool, "\1")}}).Require<bool>("k"));
  ExpectValueRefused(kBool, "\2", {"bad BOOL", "expected 0 or 1, found 2"});
  ExpectValueRefused(kArray, Array(kBool, 3, std::string("\0\1\xff", 3)),
                     {"bad BOOL", "found 255"});
}

TEST_F(GgufHeaderTest, RefusesDeepArrays) {
  std::string value = Array(kU8, 1, "x");
  for (int depth = 2; depth <= 4; ++depth) value = Array(kArray, 1, value);
  EXPECT_EQ(Open(HandmadeGguf{.values = {KeyValue("k", kArray, value)}}).metadata()[0].second,
            GgufValue(GgufValueType::kArray, value));
  ExpectValueRefused(kArray, Array(kArray, 1, value), {"nested too deeply", "at most 4 levels"});
  std::string abyss;
  for (int depth = 0; depth < 200000; ++depth) abyss += Array(kArray, 1);
  ExpectValueRefused(kArray, abyss, {"nested too deeply"});
}

TEST_F(GgufHeaderTest, RefusesBadAlignments) {
  const auto aligned = [](uint32_t type, const std::string& bytes) {
    return HandmadeGguf{.values = {KeyValue("general.alignment", type, bytes)}};
  };
  for (const uint32_t good : {1u, 2u, 32u, 4096u, 1u << 24}) {
    EXPECT_EQ(Open(aligned(kU32, Bits(good))).metadata().size(), 1u) << good;
  }
  const std::string named = "key \"general.alignment\": bad alignment";
  for (const uint32_t bad : {0u, 3u, 33u, 1u << 25, 1u << 31, ~0u}) {
    ExpectRefused(aligned(kU32, Bits(bad)), {named, fmt::format("found {}, U32", bad)});
  }
  ExpectRefused(aligned(10, Bits<uint64_t>(32)), {named, "a power of two, U32", "found 32, U64"});
  ExpectRefused(aligned(kString, Text("32")), {named, "found STRING"});
  ExpectRefused(aligned(kArray, Array(kU32, 1, Bits(32))), {named, "found an array of 1 U32"});
}

// ---- Tensors

TEST_F(GgufHeaderTest, RefusesBadNames) {
  const auto named = [](const std::string& name) {
    return HandmadeGguf{.tensors = {TensorEntry(name, {1}, kF32, 0)}, .data = "1234"};
  };
  EXPECT_EQ(Open(named(std::string(63, 'n'))).tensors().size(), 1u);
  ExpectRefused(named(std::string(64, 'n')), {"a tensor's name is too long", "at most 63", "64"});
  ExpectRefused({.tensors = {TensorEntry("t", {1}, kF32, 0), TensorEntry("t", {1}, kF32, 32)},
                 .data = std::string(36, '\0')},
                {"tensor \"t\": the tensor stands there twice"});
}

TEST_F(GgufHeaderTest, RefusesBadShapes) {
  ExpectTensorRefused({1, 1, 1, 1, 1}, kF32, 0, {"too many dimensions", "at most 4, found 5"});
  ExpectTensorRefused({kHuge}, kF32, 0, {"the shape is too large", "found 9223372036854775808"});
  // Products that are small or 0 modulo 2^64; strides overflow even when there are no elements.
  const uint64_t big = uint64_t{1} << 32;
  ExpectTensorRefused({big, big}, kF32, 0, {"too large", "F32 [4294967296, 4294967296]"});
  ExpectTensorRefused({big, big, 0}, kF32, 0, {"the tensor is too large"});
  ExpectTensorRefused({0, big, big}, kF32, 0, {"the tensor is too large"});
  ExpectTensorRefused({kHuge / 4 + 1}, kF32, 0, {"too large", "fewer than 2^63"});
  ExpectTensorRefused({kHuge / 2, 2}, kQ4, 0, {"the tensor is too large"});
  ExpectBytesRefused("GGUF" + Bits(3) + Bits<uint64_t>(1) + Bits<uint64_t>(0) + Text("t") +
                         Bits(~0u) + std::string(64, '\0'),
                     {"too many dimensions", "found 4294967295"});
}

TEST_F(GgufHeaderTest, RefusesRowsOfBrokenBlocks) {
  ExpectTensorRefused({33}, kQ4, 0, {"does not fill whole blocks", "a multiple of 32", "Q4_0"});
  ExpectTensorRefused({16, 2}, kQ4, 0, {"does not fill whole blocks", "Q4_0 [2, 16]"});
  ExpectTensorRefused({128, 2}, kQ6, 0, {"a multiple of 256", "Q6_K [2, 128]"});
  ExpectTensorRefused({}, kQ4, 0, {"does not fill whole blocks", "Q4_0 []"});
}

TEST_F(GgufHeaderTest, RefusesUnknownTypesOfTensors) {
  for (const uint32_t type : {4u, 5u, 31u, 36u, 42u, 1000u, ~0u}) {
    ExpectTensorRefused({32}, type, 0, {"unknown type", fmt::format("found {}", type)});
  }
}

TEST_F(GgufHeaderTest, RefusesTensorsBeyondTheFile) {
  ExpectTensorRefused({17}, kF32, 0,
                      {"ends beyond the file", "expected 68 bytes from byte 64 on", "of 128"});
  ExpectTensorRefused({uint64_t{1} << 34}, kF32, 0, {"ends beyond the file", "68719476736 bytes"});
  ExpectTensorRefused({kHuge / 4 - 1}, kF32, 0, {"ends beyond the file", "cut short"});
  ExpectTensorRefused({16}, kF32, 32, {"not where the tensor before it ends", "expected offset 0"});
  ExpectTensorRefused({16}, kF32, kHuge, {"expected offset 0", "found 9223372036854775808"});
  ExpectTensorRefused({15}, kF32, 1, {"expected offset 0, a multiple of 32, found 1"});
}

TEST_F(GgufHeaderTest, RefusesHolesAndOverlaps) {
  const auto two = [](uint64_t first, uint64_t second, uint64_t alignment, size_t data) {
    return HandmadeGguf{
        .values = {KeyValue("general.alignment", kU32, Bits(static_cast<uint32_t>(alignment)))},
        .tensors = {TensorEntry("a", {3}, kF16, first), TensorEntry("b", {2}, kF32, second)},
        .data = std::string(data, '\0'),
        .alignment = alignment};
  };
  EXPECT_EQ(Open(two(0, 32, 32, 40)).tensors().size(), 2u);
  EXPECT_EQ(Open(two(0, 8, 8, 16)).tensors().size(), 2u);
  EXPECT_EQ(Open(two(0, 6, 1, 14)).Get("b").sum().item<float>(), 0);
  ExpectRefused(two(0, 6, 32, 40), {"tensor \"b\"", "expected offset 32", "found 6"});
  ExpectRefused(two(0, 64, 32, 80), {"tensor \"b\"", "expected offset 32", "found 64"});
  ExpectRefused(two(0, 0, 32, 40), {"tensor \"b\"", "expected offset 32", "found 0"});
  ExpectRefused(two(32, 0, 32, 40), {"tensor \"a\"", "expected offset 0", "found 32"});
}

TEST_F(GgufHeaderTest, TheLastPaddingMayBeMissing) {
  const auto sized = [](size_t data) {
    return HandmadeGguf{.tensors = {TensorEntry("t", {5}, kF32, 0)},
                        .data = std::string(data, '\0')};
  };
  ExpectRefused(sized(19), {"tensor \"t\": the data ends beyond the file"});
  for (size_t data = 20; data <= 32; ++data) EXPECT_EQ(Open(sized(data)).tensors()[0].bytes, 20u);
  ExpectRefused(sized(33), {"bytes follow the last tensor"});
  ExpectBytesRefused(HandmadeGguf{}.Bytes() + std::string(9, '\0'),
                     {"bytes follow the last tensor", "expected 32 bytes, found 33"});
}

TEST_F(GgufHeaderTest, TakesEmptyTensorsAndRankZero) {
  const GgufFile file = Open(HandmadeGguf{
      .tensors = {TensorEntry("none", {0, 3}, kF32, 0), TensorEntry("scalar", {}, kF32, 0),
                  TensorEntry("no blocks", {32, 0}, kQ4, 32),
                  TensorEntry("no numbers", {0}, kQ6, 32)},
      .data = Bits(1.5F) + std::string(28, '\0')});
  EXPECT_EQ(file.Get("none").sizes(), (at::IntArrayRef{3, 0}));
  EXPECT_EQ(file.Get("scalar").item<float>(), 1.5F);
  EXPECT_EQ(file.Get("scalar").dim(), 0);
  EXPECT_EQ(file.Get("no blocks").sizes(), (at::IntArrayRef{0, 32}));
  EXPECT_EQ(file.Get("no numbers").scalar_type(), at::kFloat);
}

TEST_F(GgufHeaderTest, KeepsTheOrderOfTheFile) {
  const GgufFile file = Open(
      HandmadeGguf{.values = {KeyValue("z", kU8, "1"), KeyValue("a", kU8, "2")},
                   .tensors = {TensorEntry("z", {2, 3}, kF32, 0), TensorEntry("a", {1}, kF32, 32)},
                   .data = std::string(36, '\0')});
  EXPECT_EQ(file.metadata()[0].first, "z");
  EXPECT_EQ(file.metadata()[1].first, "a");
  EXPECT_EQ(file.tensors()[0].name, "z");
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(file.tensors()[1].name, "a");
  EXPECT_EQ(file.FindTensor("a")->offset, 32u);
  EXPECT_EQ(file.FindTensor("b"), nullptr);
}

}  // namespace
}  // namespace coppice
