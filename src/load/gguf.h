// One GGUF file: check everything, map it, hand out metadata and tensors. load/gguf_header.h has
// the format and its checks, load/gguf_writer.h writes one.
//
// Nothing about models here: keys and tensor names mean nothing, but for general.alignment. A model
// split over several files is several GgufFiles.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "load/gguf_header.h"

namespace coppice {

class MappedFile;

class GgufFile {
 public:
  // Maps and checks the file. Throws Error (kBadInput) with file, key or tensor, expected, found.
  static GgufFile Open(const std::filesystem::path& file);

  const GgufMetadata& metadata() const { return header_.metadata; }
  const std::vector<GgufTensorInfo>& tensors() const { return header_.tensors; }
  // What is there under that name, or nullptr.
  const GgufValue* FindValue(const std::string& key) const;
  const GgufTensorInfo* FindTensor(const std::string& name) const;

  // The value of `key` as a T of GgufValue::As(): uint64_t, int64_t, double, bool, std::string, or
  // a vector of int64_t, double or std::string. Throws Error (kBadInput) with file and key when it
  // is of another kind; where it is absent, Require() throws and Optional() gives nothing.
  template <typename T>
  T Require(const std::string& key) const;
  template <typename T>
  std::optional<T> Optional(const std::string& key) const;

  // The tensor `name`. F32, F16 and BF16 view the mapping without a copy (copied where the data is
  // not aligned) and keep it alive; their data must not be written to. Quantised tensors are
  // dequantised to float32, in parallel. Throws Error (kBadInput) for a type we cannot read or an
  // unknown name.
  at::Tensor Get(const std::string& name) const;

 private:
  std::filesystem::path file_;
  std::shared_ptr<MappedFile> map_;
  GgufHeader header_;
  std::map<std::string, size_t> values_by_key_;
  std::map<std::string, size_t> tensors_by_name_;
};

}  // namespace coppice
