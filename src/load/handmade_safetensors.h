// For tests: safetensors files put together by hand, mostly wrong ones, and what must be said of
// them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "load/safetensors.h"

namespace coppice {

// A file made by hand: length, header, data.
inline std::string Bytes(uint64_t length, std::string_view header, std::string_view data = {}) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes.append(header).append(data);
}
inline std::string File(std::string_view header, size_t data_size = 0) {
  return Bytes(header.size(), header, std::string(data_size, '\0'));
}
inline std::string Entry(std::string_view dtype, std::string_view shape, uint64_t begin,
                         uint64_t end) {
  return fmt::format(R"({{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", dtype, shape, begin,
                     end);
}

// A folder of its own for every test, removed afterwards.
class HandmadeSafetensors : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              fmt::format("coppice-{}-{}", info->name(), ::getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  SafetensorsFile Open(const std::string& bytes) const {
    // A new file each time: some file systems flush one that is truncated and written again.
    std::filesystem::remove(path());
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

  std::filesystem::path path() const { return folder_ / "model.safetensors"; }

  std::filesystem::path folder_;
};

}  // namespace coppice
