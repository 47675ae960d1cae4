#include "load/gguf.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "load/gguf_dequantize.h"
#include "load/mapped_tensor.h"

namespace coppice {
namespace {

constexpr int64_t kParallelNumbers = 1 << 16;  // per thread at least

// The dtype of tensors that are handed out as they lie.
std::optional<at::ScalarType> PlainType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return at::kFloat;
    case GgmlType::kF16:
      return at::kHalf;
    case GgmlType::kBF16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

at::Tensor View(const std::byte* data, const GgufTensorInfo& info, at::ScalarType type,
                const std::shared_ptr<MappedFile>& map) {
  if (info.bytes == 0) return at::empty(info.shape, type);
  if (reinterpret_cast<uintptr_t>(data) % at::elementSize(type) != 0) {
    at::Tensor copy = at::empty(info.shape, type);
    std::memcpy(copy.mutable_data_ptr(), data, info.bytes);
    return copy;
  }
  // The pages are read-only: writing to the tensor ends the process.
  return MappedTensor(map, static_cast<size_t>(data - map->data()), info.shape, type);
}

at::Tensor Dequantize(const std::byte* data, const GgufTensorInfo& info,
                      GgufDequantizer dequantize) {
  at::Tensor numbers = at::empty(info.shape, at::kFloat);
  const GgmlTypeInfo& type = *FindGgmlType(info.type);
  const auto block_bytes = static_cast<int64_t>(type.bytes);
  const auto block_numbers = static_cast<int64_t>(type.block);
  float* const out = numbers.mutable_data_ptr<float>();
  at::parallel_for(0, numbers.numel() / block_numbers, kParallelNumbers / block_numbers,
                   [&](int64_t begin, int64_t end) {
                     dequantize(data + begin * block_bytes, end - begin,
                                out + begin * block_numbers);
                   });
  return numbers;
}

template <typename T>
constexpr std::string_view KindOf() {
  if constexpr (std::is_same_v<T, uint64_t>) return "an integer from 0 on";
  if constexpr (std::is_same_v<T, int64_t>) return "an integer";
  if constexpr (std::is_same_v<T, double>) return "F32 or F64";
  if constexpr (std::is_same_v<T, bool>) return "BOOL";
  if constexpr (std::is_same_v<T, std::string>) return "STRING";
  if constexpr (std::is_same_v<T, std::vector<int64_t>>) return "an array of integers";
  if constexpr (std::is_same_v<T, std::vector<double>>) return "an array of F32 or F64";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "an array of STRING";
}

std::string Where(const std::filesystem::path& file, std::string_view kind, std::string_view name) {
  return fmt::format("{}: {} \"{}\"", Printable(file.string(), 500), kind, Printable(name));
}

}  // namespace

GgufFile GgufFile::Open(const std::filesystem::path& file) {
  GgufFile opened;
  opened.file_ = file;
  opened.map_ = MappedFile::Open(file);
  opened.header_ = ReadGgufHeader(std::span(opened.map_->data(), opened.map_->size()), file);
  for (const auto& [key, value] : opened.metadata()) {
    opened.values_by_key_.emplace(key, opened.values_by_key_.size());
  }
  for (const GgufTensorInfo& info : opened.tensors()) {
    opened.tensors_by_name_.emplace(info.name, opened.tensors_by_name_.size());
  }
  return opened;
}

const GgufValue* GgufFile::FindValue(const std::string& key) const {
  const auto found = values_by_key_.find(key);
  return found != values_by_key_.end() ? &header_.metadata[found->second].second : nullptr;
}

const GgufTensorInfo* GgufFile::FindTensor(const std::string& name) const {
  const auto found = tensors_by_name_.find(name);
  return found != tensors_by_name_.end() ? &header_.tensors[found->second] : nullptr;
}

template <typename T>
std::optional<T> GgufFile::Optional(const std::string& key) const {
  const GgufValue* const value = FindValue(key);
  if (value == nullptr) return std::nullopt;
  std::optional<T> decoded = value->As<T>();
  if (!decoded) {
    ThrowBadInput({.what = "the value is of the wrong kind",
                   .where = Where(file_, "key", key),
                   .expected = std::string(KindOf<T>()),
                   .found = value->Describe()});
  }
  return decoded;
}

template <typename T>
T GgufFile::Require(const std::string& key) const {
  std::optional<T> value = Optional<T>(key);
  if (!value) {
    ThrowBadInput({.what = "the key is missing",
                   .where = Where(file_, "key", key),
                   .expected = std::string(KindOf<T>())});
  }
  return std::move(*value);
}

at::Tensor GgufFile::Get(const std::string& name) const {
  const GgufTensorInfo* const info = FindTensor(name);
  if (info == nullptr) {
    ThrowBadInput({.what = fmt::format("no tensor \"{}\"", Printable(name)),
                   .where = Printable(file_.string(), 500)});
  }
  const std::byte* const data = map_->data() + header_.data_begin + info->offset;
  if (const auto plain = PlainType(info->type)) return View(data, *info, *plain, map_);
  const GgufDequantizer dequantize = FindGgufDequantizer(info->type);
  if (dequantize == nullptr) {
    ThrowBadInput({.what = "unsupported type",
                   .where = Where(file_, "tensor", name),
                   .expected = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
                   .found = std::string(FindGgmlType(info->type)->name)});
  }
  return Dequantize(data, *info, dequantize);
}

template uint64_t GgufFile::Require(const std::string&) const;
template int64_t GgufFile::Require(const std::string&) const;
template double GgufFile::Require(const std::string&) const;
template bool GgufFile::Require(const std::string&) const;
template std::string GgufFile::Require(const std::string&) const;
template std::vector<int64_t> GgufFile::Require(const std::string&) const;
template std::vector<double> GgufFile::Require(const std::string&) const;
template std::vector<std::string> GgufFile::Require(const std::string&) const;

template std::optional<uint64_t> GgufFile::Optional(const std::string&) const;
template std::optional<int64_t> GgufFile::Optional(const std::string&) const;
template std::optional<double> GgufFile::Optional(const std::string&) const;
template std::optional<bool> GgufFile::Optional(const std::string&) const;
template std::optional<std::string> GgufFile::Optional(const std::string&) const;
template std::optional<std::vector<int64_t>> GgufFile::Optional(const std::string&) const;
template std::optional<std::vector<double>> GgufFile::Optional(const std::string&) const;
template std::optional<std::vector<std::string>> GgufFile::Optional(const std::string&) const;

}  // namespace coppice
