// For tests of every layer: where the committed data lies, folders that are removed again, and what
// an Error must say.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace coppice {

inline std::filesystem::path SourceDir() { return COPPICE_SOURCE_DIR; }

// A model of testdata/tiny; "NAME.golden.json" gives the goldens beside it.
inline std::filesystem::path TinyFolder(const std::string& name) {
  return SourceDir() / "testdata" / "tiny" / name;
}

// Every model of testdata/tiny, sorted.
inline std::vector<std::string> TinyNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(TinyFolder(""))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline nlohmann::json ReadJson(const std::filesystem::path& path) {
  return nlohmann::json::parse(ReadFile(path));
}

inline nlohmann::json ReadGolden(const std::string& name) {
  return ReadJson(TinyFolder(name + ".golden.json"));
}

// The folder of the real models, which not every machine has.
inline std::filesystem::path RealModels() {
  const char* const folder = std::getenv("COPPICE_MODELS");
  return folder != nullptr ? std::filesystem::path(folder) : SourceDir() / "build" / "models";
}

// A new empty folder, removed with all that is in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::path(testing::TempDir()) / "coppice-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw InternalError("no temporary folder");
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { RemoveTree(path_); }

  const std::filesystem::path& path() const { return path_; }
  // Names of what is in it, hidden ones too, sorted.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

// Expects `work` to throw an Error with this code, in one line that holds every part.
template <typename Work>
void ExpectError(ExitCode code, const std::vector<std::string>& parts, Work work) {
  try {
    work();
  } catch (const Error& error) {
    const std::string line = error.what();
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    for (const std::string& part : parts) {
      EXPECT_NE(line.find(part), std::string::npos) << "wanted: " << part << "\ngot: " << line;
    }
    return;
  } catch (const std::exception& other) {
    ADD_FAILURE() << "not an Error: " << other.what();
    return;
  }
  ADD_FAILURE() << "nothing thrown; wanted: " << fmt::format("{}", parts.empty() ? "" : parts[0]);
}

}  // namespace coppice
