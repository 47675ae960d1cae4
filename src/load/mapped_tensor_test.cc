// Tensors that live in files: their numbers stay when their pages leave memory.
#include "load/mapped_tensor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "load/handmade_safetensors.h"

namespace coppice {
namespace {

// Bytes of files' pages that this process has in memory.
int64_t ResidentFileBytes() {
  std::ifstream status("/proc/self/status");
  int64_t kilobytes = 0;
  for (std::string word; status >> word;) {
    if (word == "RssFile:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

class MappedTensorTest : public HandmadeSafetensors {};

TEST_F(MappedTensorTest, HoldsWhatItWasGivenInAFile) {
  const at::Tensor half = at::randn({3, 5}).to(at::kHalf);
  for (const at::Tensor& tensor : {at::randn({257, 1031}), half, half.t(), at::empty({0, 4})}) {
    const at::Tensor kept = InFile(tensor);
    EXPECT_EQ(kept.scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(kept, tensor));
    DropPages(kept);
    EXPECT_TRUE(at::equal(kept, tensor));
  }
}

TEST_F(MappedTensorTest, CanBeWrittenAndIsNobodyElses) {
  const at::Tensor kept = InFile(at::zeros({5000}));
  kept.add_(1);
  DropPages(kept);
  EXPECT_EQ(kept.sum().item<double>(), 5000);
  EXPECT_EQ(InFile(at::zeros({5000})).sum().item<double>(), 0);
}

TEST_F(MappedTensorTest, DropPagesLeavesOtherMemoryAlone) {
  const at::Tensor plain = at::ones({100000});
  DropPages(plain);
  DropPages(at::Tensor());
  EXPECT_EQ(plain.sum().item<double>(), 100000);
}

TEST_F(MappedTensorTest, PagesOfACheckpointLeaveMemory) {
  const at::Tensor large = at::ones({8 << 20});  // 32 MiB
  WriteSafetensors(folder_ / "large.safetensors", {{"x", large}});
  const at::Tensor read = SafetensorsFile::Open(folder_ / "large.safetensors").Get("x");
  EXPECT_TRUE(at::equal(read, large));
  const int64_t before = ResidentFileBytes();
  DropPages(read.t());  // a view of the same bytes
  EXPECT_LE(ResidentFileBytes(), before - (int64_t{31} << 20));
  EXPECT_TRUE(at::equal(read, large));
}

TEST_F(MappedTensorTest, ADiskWithoutRoomIsAnError) {
  const char* usual = std::getenv("TMPDIR");
  const std::string old = usual == nullptr ? "/tmp" : usual;
  setenv("TMPDIR", "/proc", 1);
  try {
    InFile(at::zeros({8}));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find("TMPDIR"), std::string::npos) << error.what();
  }
  setenv("TMPDIR", old.c_str(), 1);
}

}  // namespace
}  // namespace coppice
