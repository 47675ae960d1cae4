#include "load/safetensors_header.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "load/handmade_safetensors.h"

namespace coppice {
namespace {

class SafetensorsHeaderTest : public HandmadeSafetensors {};

// ---- The file and the text of its header

TEST_F(SafetensorsHeaderTest, RefusesAMissingFileAndAFolder) {
  EXPECT_THROW(SafetensorsFile::Open(folder_ / "absent"), Error);
  EXPECT_THROW(SafetensorsFile::Open(folder_), Error);
}

TEST_F(SafetensorsHeaderTest, RefusesAFileBelowEightBytes) {
  ExpectRefused("", {"too short", "expected at least 8 bytes, found 0"});
  ExpectRefused("1234567", {"too short", "found 7"});
}

TEST_F(SafetensorsHeaderTest, RefusesBadHeaderLengths) {
  ExpectRefused(Bytes(0, "{}"), {"the header is empty"});
  ExpectRefused(Bytes(100000001, "{}"), {"too long", "at most 100000000", "found 100000001"});
  ExpectRefused(Bytes(~uint64_t{0}, "{}"), {"too long", "found 18446744073709551615"});
  ExpectRefused(Bytes(3, "{}"), {"ends beyond the file", "expected 3 bytes of header, found 2"});
  ExpectRefused(Bytes(100000000, "{}"), {"ends beyond the file", "found 2"});
}

TEST_F(SafetensorsHeaderTest, RefusesTextThatIsNotUtf8) {
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

TEST_F(SafetensorsHeaderTest, RefusesTextThatIsNotAnObject) {
  ExpectRefused(File("[]"), {"not a JSON object", "'{' as its first byte, found 0x5b"});
  ExpectRefused(File(" {}"), {"'{' as its first byte, found 0x20"});
  ExpectRefused(File("\xef\xbb\xbf{}"), {"'{' as its first byte, found 0xef"});
}

TEST_F(SafetensorsHeaderTest, RefusesInvalidJson) {
  for (const char* bad : {"{", "{\"a\"}", "{} {}", "{}x", "{\"a\":1,}", "{\"a\":01}", "{\"a\":NaN}",
                          "{\"a\":1e999}", "{\"a\":\"\\ud800\"}", "{/**/}"}) {
    ExpectRefused(File(bad), {"the header is not valid JSON"});
  }
}

TEST_F(SafetensorsHeaderTest, RefusesDeepJson) {
  ExpectRefused(File("{\"a\":" + std::string(7, '[') + std::string(7, ']') + "}"),
                {"tensor \"a\": the entry is not a JSON object"});
  ExpectRefused(File("{\"a\":" + std::string(8, '[') + std::string(8, ']') + "}"),
                {"the header is nested too deeply", "at most 8 levels"});
  ExpectRefused(File("{\"a\":" + std::string(5000000, '[')), {"nested too deeply"});
}

TEST_F(SafetensorsHeaderTest, RefusesAFloodOfValues) {
  std::string header = "{\"a\":[0";
  for (int i = 0; i < 4000000; ++i) header += ",0";
  ExpectRefused(File(header + "]}"), {"the header is too large", "at most 4000000 JSON values"});
}

TEST_F(SafetensorsHeaderTest, RefusesEqualKeys) {
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

TEST_F(SafetensorsHeaderTest, RefusesEntriesWithOtherFields) {
  ExpectEntryRefused("[]", {"the entry is not a JSON object", "found array of 0"});
  ExpectEntryRefused("1", {"the entry is not a JSON object", "found 1"});
  ExpectEntryRefused(R"({"shape":[2],"data_offsets":[0,8]})", {"a field is missing", "\"dtype\""});
  ExpectEntryRefused(R"({"dtype":"F32","data_offsets":[0,8]})", {"missing", "\"shape\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2]})", {"missing", "\"data_offsets\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]})",
                     {"an unknown field", "found \"strides\""});
}

TEST_F(SafetensorsHeaderTest, RefusesFieldsOfOtherTypes) {
  ExpectEntryRefused(R"({"dtype":1,"shape":[2],"data_offsets":[0,8]})",
                     {"\"dtype\" is not a string"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})",
                     {"\"shape\" is not a list"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":8})", {"bad \"data_offsets\""});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", {"found array of 1"});
  ExpectEntryRefused(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", {"found array of 3"});
}

TEST_F(SafetensorsHeaderTest, RefusesNumbersThatAreNoSizes) {
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

TEST_F(SafetensorsHeaderTest, RefusesShapesThatOverflow) {
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

TEST_F(SafetensorsHeaderTest, RefusesSizesThatDoNotFit) {
  ExpectEntryRefused(Entry("F32", "3", 0, 8),
                     {"do not fit", "expected 12 bytes for F32 [3], found 8"});
  ExpectEntryRefused(Entry("F16", "2", 0, 8), {"expected 4 bytes for F16 [2], found 8"});
  ExpectEntryRefused(Entry("F32", "", 0, 8), {"expected 4 bytes for F32 [], found 8"});
  ExpectEntryRefused(Entry("F32", "0", 0, 8), {"expected 0 bytes for F32 [0], found 8"});
  ExpectEntryRefused(Entry("F6_E2M3", "3", 0, 3), {"does not fill whole bytes", "found 18 bits"});
  ExpectEntryRefused(Entry("F32", "2", 8, 0), {"reversed", "found [8, 0]"});
}

TEST_F(SafetensorsHeaderTest, RefusesMoreThanTheCaps) {
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

TEST_F(SafetensorsHeaderTest, RefusesMetadataThatIsNotStrings) {
  ExpectRefused(File("{\"__metadata__\":[]}"), {"\"__metadata__\" is not a JSON object"});
  for (const char* bad : {"1", "null", "[]", "{}", "true"}) {
    ExpectRefused(File(fmt::format("{{\"__metadata__\":{{\"k\":{}}}}}", bad)),
                  {"\"__metadata__\" holds more than strings: \"k\"", "expected a string"});
  }
}

// ---- The layout of the data

TEST_F(SafetensorsHeaderTest, RefusesHolesAndOverlaps) {
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

TEST_F(SafetensorsHeaderTest, RefusesAFileThatEndsElsewhere) {
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

}  // namespace
}  // namespace coppice
