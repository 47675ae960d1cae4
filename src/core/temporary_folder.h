// A folder for files that another program reads once, gone with the object or at an interrupt.
#pragma once

#include <filesystem>

namespace coppice {

// In the system's folder for temporary files (TMPDIR). Throws Error (kEnvironment).
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace coppice
