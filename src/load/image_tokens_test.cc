#include "load/image_tokens.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "load/safetensors.h"
#include "testdata.h"

namespace coppice {
namespace {

constexpr ImageTokenLimits kLimits = {.grid = 2, .vocabulary = 9, .classes = 3};

class ImageTokensTest : public testing::Test {
 protected:
  std::filesystem::path File() const { return folder_.path() / "tokens.safetensors"; }
  void ExpectRefused(const std::map<std::string, at::Tensor>& tensors,
                     const std::vector<std::string>& parts) const {
    WriteSafetensors(File(), tensors);
    ExpectError(ExitCode::kBadInput, parts, [&] { ReadImageTokens(File(), kLimits); });
  }
  TempFolder folder_;
  const at::Tensor tokens_ = at::tensor({0, 1, 2, 8, 4, 5, 6, 7}, at::kLong).view({2, 4});
  const at::Tensor classes_ = at::tensor({3, 0}, at::kLong);  // the null class, and one
};

TEST_F(ImageTokensTest, ReadBackAsTheyWereWritten) {
  WriteImageTokens(File(), {tokens_, classes_});
  EXPECT_EQ(SafetensorsFile::Open(File()).tensors().at("tokens").dtype, "I32");
  const ImageTokens read = ReadImageTokens(File(), kLimits);
  EXPECT_TRUE(at::equal(read.tokens, tokens_));
  EXPECT_TRUE(at::equal(read.classes, classes_));
  for (const at::ScalarType type : {at::kByte, at::kShort, at::kLong}) {
    WriteSafetensors(File(), {{"tokens", tokens_.to(type)}, {"classes", classes_.to(type)}});
    EXPECT_TRUE(at::equal(ReadImageTokens(File(), kLimits).tokens, tokens_));
  }
}

TEST_F(ImageTokensTest, AreRefusedByWhatIsWrong) {
  ExpectRefused({{"tokens", tokens_}}, {"missing", "\"classes\""});
  ExpectRefused({{"tokens", tokens_.to(at::kFloat)}, {"classes", classes_}}, {"dtype", "Float"});
  ExpectRefused({{"tokens", tokens_.view({2, 2, 2})}, {"classes", classes_}}, {"[2, 2, 2]"});
  ExpectRefused({{"tokens", tokens_}, {"classes", classes_.slice(0, 1)}},
                {"as many", "[2]", "[1]"});
  ExpectRefused({{"tokens", tokens_.slice(1, 1)}, {"classes", classes_}},
                {"not square", "2 x 2 = 4", "found 3"});
  ExpectRefused({{"tokens", tokens_.slice(1, 0, 1)}, {"classes", classes_}},
                {"not the model's", "2 x 2", "1 x 1"});
  ExpectRefused({{"tokens", tokens_ + 1}, {"classes", classes_}},
                {"token out of range", "image 0", "0 to 8", "9"});
  ExpectRefused({{"tokens", tokens_ - 1}, {"classes", classes_}}, {"token out of range", "-1"});
  ExpectRefused({{"tokens", tokens_}, {"classes", classes_ + 1}},
                {"class out of range", "image 0", "0 to 3", "4"});
  ExpectRefused({{"tokens", tokens_.slice(0, 0, 0)}, {"classes", classes_.slice(0, 0, 0)}},
                {"no images"});
}

}  // namespace
}  // namespace coppice
