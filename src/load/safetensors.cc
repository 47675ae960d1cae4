#include "load/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <span>
#include <utility>

#include "core/error.h"
#include "load/mapped_tensor.h"
#include "load/safetensors_dtype.h"
#include "load/safetensors_header.h"

namespace coppice {
namespace {

// A byte that is neither 0 nor 1 is not a bool to the compiler: reading it as one is undefined.
void CheckBools(const std::byte* data, uint64_t size, const std::string& where) {
  for (uint64_t i = 0; i < size; ++i) {
    if (std::to_integer<unsigned>(data[i]) > 1) {
      ThrowBadInput(
          {.what = "bad BOOL data",
           .where = where,
           .expected = "bytes 0 and 1",
           .found = fmt::format("{} at element {}", std::to_integer<unsigned>(data[i]), i)});
    }
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::Open(const std::filesystem::path& file) {
  SafetensorsFile opened;
  opened.file_ = file;
  opened.map_ = MappedFile::Open(file);
  SafetensorsHeader header =
      ReadSafetensorsHeader(std::span(opened.map_->data(), opened.map_->size()), file);
  opened.data_begin_ = header.data_begin;
  opened.tensors_ = std::move(header.tensors);
  opened.metadata_ = std::move(header.metadata);
  return opened;
}

at::Tensor SafetensorsFile::Get(const std::string& name) const {
  const std::string where = Printable(file_.string(), 500);
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    ThrowBadInput({.what = fmt::format("no tensor \"{}\"", Printable(name)), .where = where});
  }
  const TensorInfo& info = found->second;
  const std::string tensor_where = fmt::format("{}: tensor \"{}\"", where, Printable(name));
  const SafetensorsDtype* dtype = FindSafetensorsDtype(info.dtype);
  if (dtype == nullptr || !dtype->type) {
    ThrowBadInput({.what = dtype == nullptr ? "unknown dtype" : "unsupported dtype",
                   .where = tensor_where,
                   .expected = "F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
                   .found = Printable(info.dtype)});
  }
  const at::TensorOptions options = at::TensorOptions(*dtype->type);
  const uint64_t size = info.end - info.begin;
  if (size == 0) return at::empty(info.shape, options);
  const std::byte* data = map_->data() + data_begin_ + info.begin;
  if (*dtype->type == at::kBool) CheckBools(data, size, tensor_where);
  if (reinterpret_cast<uintptr_t>(data) % (dtype->bits / 8) != 0) {
    at::Tensor copy = at::empty(info.shape, options);
    std::memcpy(copy.mutable_data_ptr(), data, size);
    return copy;
  }
  // The pages are read-only: writing to the tensor ends the process.
  return MappedTensor(map_, data_begin_ + info.begin, info.shape, *dtype->type);
}

}  // namespace coppice
