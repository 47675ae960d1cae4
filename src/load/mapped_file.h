// A memory mapping of a whole file: of one that is read, or of one without a name that data waits
// in. Tensors that view it (load/mapped_tensor.h) share its ownership, so it is unmapped when the
// last of them is gone.
//
// The mapping follows the file: when another program shortens the file meanwhile, reading the lost
// part raises SIGBUS and ends the process. Replacing the file by a rename, as our writers do, is
// harmless.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

namespace coppice {

class MappedFile {
 public:
  // Throws Error (kBadInput) when it is missing, not a regular file, or cannot be mapped.
  static std::shared_ptr<MappedFile> Open(const std::filesystem::path& path);

  // A file of `size` bytes in the folder for temporary files, writable, which vanishes with the
  // mapping. Its room on the disk is taken now: a full disk must not kill the process later, when a
  // page is written. Throws Error (kEnvironment).
  static std::shared_ptr<MappedFile> Temporary(size_t size);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::byte* data() const { return data_; }  // null when the file is empty
  size_t size() const { return size_; }

 private:
  MappedFile(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_;
  size_t size_;
};

}  // namespace coppice
