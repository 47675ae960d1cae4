// For tests: GGUF files put together by hand, mostly wrong ones, and what must be said of them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "load/gguf.h"
#include "testdata.h"

namespace coppice {

template <typename T>
std::string Bits(T number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}
inline std::string Text(const std::string& text) { return Bits<uint64_t>(text.size()) + text; }

// A value of the metadata; `bytes` is the value itself.
inline std::string KeyValue(const std::string& key, uint32_t type, const std::string& bytes) {
  return Text(key) + Bits(type) + bytes;
}
inline std::string Array(uint32_t type, uint64_t count, const std::string& elements = "") {
  return Bits(type) + Bits(count) + elements;
}

// A tensor's entry; `sizes` in the file's order, the fastest first.
inline std::string TensorEntry(const std::string& name, const std::vector<uint64_t>& sizes,
                               uint32_t type, uint64_t offset) {
  std::string bytes = Text(name) + Bits<uint32_t>(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes) bytes += Bits(size);
  return bytes + Bits(type) + Bits(offset);
}

struct HandmadeGguf {
  uint32_t version = 3;
  std::vector<std::string> values = {};   // KeyValue()
  std::vector<std::string> tensors = {};  // TensorEntry()
  std::string data = {};
  uint64_t alignment = 32;  // of the data; not written down

  std::string Bytes() const {
    std::string bytes =
        "GGUF" + Bits(version) + Bits<uint64_t>(tensors.size()) + Bits<uint64_t>(values.size());
    for (const std::string& value : values) bytes += value;
    for (const std::string& tensor : tensors) bytes += tensor;
    if (!tensors.empty()) bytes.resize(GgufPad(bytes.size(), alignment), '\0');
    return bytes + data;
  }
};

class HandmadeGgufTest : public testing::Test {
 protected:
  GgufFile Open(const std::string& bytes) const {
    // A new file each time: some file systems flush one that is truncated and written again.
    std::filesystem::remove(path());
    std::ofstream(path(), std::ios::binary) << bytes;
    return GgufFile::Open(path());
  }
  GgufFile Open(const HandmadeGguf& file) const { return Open(file.Bytes()); }

  // Expects Open() to refuse the file in one line that names it and holds every part.
  void ExpectBytesRefused(const std::string& bytes, std::vector<std::string> parts) const {
    parts.insert(parts.begin(), path().string() + ": ");
    ExpectError(ExitCode::kBadInput, parts, [&] { Open(bytes); });
  }
  void ExpectRefused(const HandmadeGguf& file, const std::vector<std::string>& parts) const {
    ExpectBytesRefused(file.Bytes(), parts);
  }
  // The same for a file with one value under "k".
  void ExpectValueRefused(uint32_t type, const std::string& bytes,
                          std::vector<std::string> parts) const {
    parts.emplace_back("key \"k\": ");
    ExpectRefused({.values = {KeyValue("k", type, bytes)}}, parts);
  }
  // The same for a file with one tensor "t" over 64 bytes of data.
  void ExpectTensorRefused(const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset,
                           std::vector<std::string> parts) const {
    parts.emplace_back("tensor \"t\": ");
    ExpectRefused(
        {.tensors = {TensorEntry("t", sizes, type, offset)}, .data = std::string(64, '\0')}, parts);
  }

  std::filesystem::path path() const { return folder_.path() / "model.gguf"; }

  TempFolder folder_;
};

}  // namespace coppice
