// One safetensors file: check everything, map it, hand out tensors; and write one.
//
// Layout: u64 little-endian N, N bytes of JSON header, data. An entry is
// {"dtype","shape","data_offsets": [begin, end]} with offsets from the start of the data. No byte
// of a file is trusted: the header is checked as a whole (sizes with overflow checks, no holes, no
// overlaps, no duplicate names) before a tensor is handed out, and every message names the file and
// the tensor.
//
// Nothing about models here. See load/checkpoint.h for folders and shards.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace coppice {

// What the header says of one tensor.
struct TensorInfo {
  std::string dtype;  // the file's own name: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data
  uint64_t end = 0;
};

// A read-only mapping of a file; unmapped when the last tensor that views it is gone.
class MappedFile;

class SafetensorsFile {
 public:
  // Maps and checks the file. Throws Error (kBadInput) with file, tensor, expected and found.
  static SafetensorsFile Open(const std::filesystem::path& file);

  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The tensor `name`, viewing the mapping without a copy when its data is aligned for its dtype
  // (copied otherwise). The tensor keeps the mapping alive. Supported: F64, F32, F16, BF16, I64,
  // I32, I16, I8, U8, BOOL; throws Error (kBadInput) for another dtype or an unknown name. Its data
  // must not be written to.
  at::Tensor Get(const std::string& name) const;

 private:
  std::filesystem::path file_;
  std::shared_ptr<MappedFile> map_;
  uint64_t data_begin_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes tensors (any device; made contiguous) sorted by descending dtype alignment, then name,
// metadata {"format":"pt"} plus `metadata`, header padded so that the data starts at a multiple of
// 8 bytes. Streams tensor by tensor into a temporary file in the same folder, which is fsynced and
// renamed over `file`. Same input, same bytes. Throws Error (kEnvironment) and leaves nothing
// behind when the disk fails.
void WriteSafetensors(const std::filesystem::path& file,
                      const std::map<std::string, at::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace coppice
