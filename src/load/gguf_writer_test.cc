#include "load/gguf_writer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "core/file.h"
#include "load/gguf_testing.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class GgufWriterTest : public HandmadeGgufTest {};

// Conversions, quantisation, layout and values at once: the same bytes as the reference's.
TEST_F(GgufWriterTest, WritesWhatTheReferenceWrites) {
  const fs::path data = SourceDir() / "testdata" / "gguf";
  const GgufFile source = GgufFile::Open(data / "source.gguf");
  std::vector<GgufTensor> tensors;
  for (const auto& [prefix, type] : {std::pair("F32 ", GgmlType::kF32),
                                     {"F16 ", GgmlType::kF16},
                                     {"BF16 ", GgmlType::kBF16},
                                     {"Q8_0 ", GgmlType::kQ8_0}}) {
    for (const GgufTensorInfo& info : source.tensors()) {
      tensors.push_back({prefix + info.name, source.Get(info.name), type});
    }
  }
  WriteGguf(path(), source.metadata(), tensors);
  const std::string written = ReadFile(path());
  const std::string expected = ReadFile(data / "written.gguf");
  ASSERT_EQ(written.size(), expected.size());
  for (size_t at = 0; at < written.size(); ++at) ASSERT_EQ(written[at], expected[at]) << at;
}

TEST_F(GgufWriterTest, WritesTheseBytes) {
  WriteGguf(path(), {{"k", GgufValue::From(uint32_t{7})}},
            {{"t", at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3})},
             {"s", at::scalar_tensor(1.5), GgmlType::kF16}});
  const HandmadeGguf expected = {
      .values = {KeyValue("k", 4, Bits(7u))},
      .tensors = {TensorEntry("t", {3, 1}, 0, 0), TensorEntry("s", {}, 1, 32)},
      .data = Bits(1.0F) + Bits(2.0F) + Bits(3.0F) + std::string(20, '\0') +
              std::string("\0\x3E", 2) + std::string(30, '\0')};
  EXPECT_EQ(ReadFile(path()), expected.Bytes());
}

TEST_F(GgufWriterTest, WritesWhatItReadsBack) {
  const std::vector<GgufTensor> written = {
      {"double", at::randn({3, 4}, at::kDouble)},
      {"transposed", at::randn({5, 7}).t()},
      {"slice", at::randn({6, 6}).slice(1, 1, 4)},
      {"grad", at::randn({2}).requires_grad_(true)},
      {"expanded", at::ones({1}).expand({4})},
      {"cube", at::randn({2, 3, 4, 5}).transpose(0, 2)},
      {"half", at::randn({3}).to(at::kHalf), GgmlType::kF16},
      {"bfloat", at::randn({3}).to(at::kBFloat16), GgmlType::kBF16},
      {"bfloat as half", at::randn({3}).to(at::kBFloat16), GgmlType::kF16},
      {"blocks",
       at::arange(64, at::kFloat)
           .view({2, 32})
           .index_fill(1, at::scalar_tensor(3, at::kLong), -127),
       GgmlType::kQ8_0},
      {"empty", at::empty({0, 32}), GgmlType::kQ8_0},
      {"infinite", at::tensor({kInfinity, -kInfinity, 1.0F}), GgmlType::kF16},
      {"scalar", at::scalar_tensor(2.5)}};
  const GgufMetadata metadata = {
      {"z", GgufValue::From(std::string("naïve"))},
      {"general.alignment", GgufValue::From(uint32_t{128})},
      {"nan", GgufValue(GgufValueType::kF32, Bits(0x7F800001u))},
      {"nested", GgufValue(GgufValueType::kArray, Array(9, 1, Array(0, 2, "ab")))},
      {"a", GgufValue::From(std::vector<std::string>{"x", ""})}};
  WriteGguf(path(), metadata, written);
  const std::string bytes = ReadFile(path());
  const GgufFile file = GgufFile::Open(path());
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), written.size());
  std::vector<GgufTensor> again;
  for (size_t i = 0; i < written.size(); ++i) {
    const GgufTensorInfo& info = file.tensors()[i];
    EXPECT_EQ(info.name, written[i].name);
    EXPECT_EQ(info.type, written[i].type);
    EXPECT_EQ(info.offset % 128, 0u);
    const at::Tensor read = file.Get(info.name);
    EXPECT_EQ(read.sizes(), written[i].tensor.sizes()) << info.name;
    EXPECT_TRUE(at::equal(read, written[i].tensor.detach().to(read.scalar_type()))) << info.name;
    again.push_back({info.name, read, info.type});
  }
  // Over itself, from tensors that view it: the same bytes, and nothing beside it.
  WriteGguf(path(), file.metadata(), again);
  EXPECT_TRUE(ReadFile(path()) == bytes);
  EXPECT_EQ(folder_.Names(), std::vector<std::string>{"model.gguf"});
}

// Tensors above the size that is converted at once, whole blocks in every slice.
TEST_F(GgufWriterTest, SlicesOfLargeTensorsJoin) {
  const int64_t slice = int64_t{1} << 22;
  const at::Tensor vector =
      at::arange(2 * slice + 64, at::kInt).remainder(251).to(at::kFloat) - 125;
  const at::Tensor matrix = vector.narrow(0, 0, 352 * 12000).view({-1, 352}).t();
  const at::Tensor flat = matrix.contiguous().view({-1, 32});
  WriteGguf(path(), {},
            {{"vector", vector, GgmlType::kQ8_0},
             {"rows", vector.view({-1, 32}), GgmlType::kQ8_0},
             {"matrix", matrix, GgmlType::kF16},
             {"flat", flat, GgmlType::kF16}});
  const GgufFile file = GgufFile::Open(path());
  EXPECT_TRUE(at::equal(file.Get("vector"), file.Get("rows").flatten()));
  EXPECT_LT((file.Get("vector") - vector).abs().max().item<float>(), 0.6F);
  EXPECT_TRUE(at::equal(file.Get("matrix"), matrix.to(at::kHalf)));
  EXPECT_TRUE(at::equal(file.Get("flat").flatten(), file.Get("matrix").flatten()));
}

TEST_F(GgufWriterTest, RefusesNumbersThatDoNotFit) {
  const auto expect = [this](const at::Tensor& tensor, GgmlType type,
                             const std::vector<std::string>& parts) {
    ExpectError(ExitCode::kBadInput, parts, [&] { WriteGguf(path(), {}, {{"t", tensor, type}}); });
    EXPECT_TRUE(folder_.Names().empty());
  };
  const std::string where = path().string() + ": tensor \"t\": a number is too large for the type";
  expect(at::tensor({1.0F, -70000.0F}), GgmlType::kF16, {where, "F16 can hold, found 70000"});
  expect(at::tensor({3.4e38F}), GgmlType::kBF16, {where, "BF16 can hold, found 3.4e+38"});
  expect(at::tensor({1e39}, at::kDouble), GgmlType::kF32, {where, "F32 can hold, found 1e+39"});
  at::Tensor row = at::zeros({2, 32});
  row[1][3] = 8.4e6F;
  expect(row, GgmlType::kQ8_0, {where, "Q8_0 can hold, found 8.4e+06"});
  row[1][3] = kInfinity;
  expect(row, GgmlType::kQ8_0, {where, "found infinite ones, or such that are no numbers"});
  row[1][3] = std::numeric_limits<float>::quiet_NaN();
  expect(row.to(at::kHalf), GgmlType::kQ8_0, {where, "found infinite ones"});
}

TEST_F(GgufWriterTest, RefusesOurOwnMistakes) {
  const auto refused = [this](const GgufMetadata& metadata,
                              const std::vector<GgufTensor>& tensors) {
    EXPECT_THROW(WriteGguf(path(), metadata, tensors), InternalError);
  };
  const GgufValue one = GgufValue::From(uint32_t{1});
  refused({{"", one}}, {});
  refused({{"k", one}, {"k", one}}, {});
  refused({{"general.alignment", GgufValue::From(uint32_t{24})}}, {});
  refused({{"general.alignment", GgufValue::From(uint64_t{32})}}, {});
  refused({}, {{"t", at::Tensor()}});
  refused({}, {{"t", at::zeros({2}, at::kLong)}});
  refused({}, {{"t", at::zeros({1, 1, 1, 1, 1})}});
  refused({}, {{"t", at::zeros({2})}, {"t", at::zeros({2})}});
  refused({}, {{std::string(64, 'n'), at::zeros({2})}});
  refused({}, {{"t", at::zeros({33}), GgmlType::kQ8_0}});
  refused({}, {{"t", at::scalar_tensor(1.0), GgmlType::kQ8_0}});
  refused({}, {{"t", at::zeros({32}), GgmlType::kQ4_0}});
  EXPECT_THROW(WriteGguf(folder_.path() / "absent" / "x", {}, {{"t", at::zeros({1})}}), Error);
  EXPECT_TRUE(folder_.Names().empty());
}

}  // namespace
}  // namespace coppice
