// Files on disk, written so that a kill or a full disk never leaves half a file under its final
// name, and nothing that exists is overwritten by accident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

class InterruptHold;

// A file being written: bytes go to a temporary name in the same folder; Commit() flushes, fsyncs
// and renames. Destroyed without Commit(), or interrupted (core/interrupt.h), it removes the
// temporary file. Throws Error (kEnvironment).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path final_path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void Write(const void* data, size_t size);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  void Commit();

 private:
  std::filesystem::path final_path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

// Writes a whole small file atomically.
void WriteFile(const std::filesystem::path& path, std::string_view text);

// Copies a file of any size, atomically. Throws Error: kBadInput when `from` cannot be read.
void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

// Reads a whole file of at most `limit` bytes. Throws Error (kBadInput) when missing, too large or
// unreadable.
std::string ReadFile(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

// Removes a file, or a folder and all in it, following no link; whether nothing is left of it. Not
// std::filesystem's remove_all(), which crashed beside a CUDA build of LibTorch; those export parts
// of a std::filesystem of their own.
bool RemoveTree(const std::filesystem::path& path);

// An output folder being filled: files go to a temporary sibling folder; Commit() fsyncs and
// renames it to its final name, so that the folder appears whole or not at all. Destroyed without
// Commit(), or interrupted (core/interrupt.h), it removes the temporary folder. Refuses (kUsage) a
// final path that exists and is not an empty folder, unless `replace`; a replaced folder changes
// places with the new one, or is moved aside where the file system cannot do that, and is removed
// only when the new one is in place. Never replaces a file, or a folder that holds the current one.
// Missing parents are created; a link to a folder is followed.
class OutputFolder {
 public:
  OutputFolder(const std::filesystem::path& final_path, bool replace);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  const std::filesystem::path& path() const { return temporary_; }  // write files here
  void Commit();

 private:
  // Gives the folder its final name. The old folder's new name, if there was one, to be removed.
  std::filesystem::path PutInPlace();
  void Forget(InterruptHold* hold) const;

  std::filesystem::path final_path_;
  std::filesystem::path temporary_;
  std::vector<std::filesystem::path> new_parents_;  // folders made for it, the innermost first
  bool replace_ = false;
  bool committed_ = false;
};

// Lower-case hexadecimal SHA-256 (FIPS 180-4).
std::string Sha256Hex(std::string_view bytes);
std::string Sha256HexOfFile(const std::filesystem::path& path);

}  // namespace coppice
