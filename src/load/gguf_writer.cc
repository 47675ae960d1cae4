#include "load/gguf_writer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "load/gguf_quantize.h"

namespace coppice {
namespace {

constexpr uint32_t kVersion = 3;
constexpr int64_t kSliceNumbers = int64_t{1} << 22;  // converted at once: 16 MiB of float32
constexpr int64_t kParallelBlocks = 2048;            // per thread at least

void Append(uint32_t number, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&number), sizeof(number));
}
void Append(uint64_t number, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&number), sizeof(number));
}
void Append(const std::string& text, std::string* bytes) {
  Append(uint64_t{text.size()}, bytes);
  bytes->append(text);
}

uint64_t Alignment(const GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != kGgufAlignmentKey) continue;
    const uint64_t alignment = value.As<uint64_t>().value_or(0);
    Check(value.type() == GgufValueType::kU32 && std::has_single_bit(alignment) &&
              alignment <= kMaxGgufAlignment,
          "WriteGguf: general.alignment is no power of two of type U32, or too large");
    return alignment;
  }
  return kGgufDefaultAlignment;
}

// What a reader would refuse is a mistake of ours.
void CheckInput(const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors) {
  std::set<std::string> keys;
  for (const auto& [key, value] : metadata) {
    Check(!key.empty() && key.size() <= kMaxGgufKey && keys.insert(key).second,
          "WriteGguf: a bad key, or one twice: " + key);
  }
  std::set<std::string> names;
  for (const auto& [name, tensor, type] : tensors) {
    Check(name.size() <= kMaxGgufTensorName && names.insert(name).second,
          "WriteGguf: a bad name, or one twice: " + name);
    Check(tensor.defined() && tensor.layout() == at::kStrided && tensor.is_floating_point(),
          "WriteGguf: not a dense tensor of floating point: " + name);
    Check(static_cast<size_t>(tensor.dim()) <= kMaxGgufDimensions,
          "WriteGguf: too many dimensions: " + name);
    const bool q8 = type == GgmlType::kQ8_0;
    Check(q8 || type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16,
          "WriteGguf: a type that is not written: " + name);
    Check(!q8 || (tensor.dim() > 0 && tensor.size(-1) % kQ8BlockNumbers == 0),
          "WriteGguf: a row that does not fill whole Q8_0 blocks: " + name);
  }
}

uint64_t BytesOf(const GgufTensor& tensor) {
  const GgmlTypeInfo& type = *FindGgmlType(tensor.type);
  return static_cast<uint64_t>(tensor.tensor.numel()) / type.block * type.bytes;
}

// All in front of the data, padding included.
std::string Header(const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors,
                   uint64_t alignment) {
  std::string bytes = "GGUF";
  Append(kVersion, &bytes);
  Append(uint64_t{tensors.size()}, &bytes);
  Append(uint64_t{metadata.size()}, &bytes);
  for (const auto& [key, value] : metadata) {
    Append(key, &bytes);
    Append(static_cast<uint32_t>(value.type()), &bytes);
    bytes.append(value.bytes());
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    const std::vector<int64_t> shape = tensor.tensor.sizes().vec();
    Append(tensor.name, &bytes);
    Append(static_cast<uint32_t>(shape.size()), &bytes);
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
      Append(static_cast<uint64_t>(*size), &bytes);
    }
    Append(static_cast<uint32_t>(tensor.type), &bytes);
    Append(offset, &bytes);
    offset = GgufPad(offset + BytesOf(tensor), alignment);
  }
  bytes.resize(GgufPad(bytes.size(), alignment), '\0');
  return bytes;
}

at::Tensor ToQ8(const at::Tensor& slice) {
  const at::Tensor numbers = slice.to(at::kFloat).contiguous();
  const int64_t count = numbers.numel() / kQ8BlockNumbers;
  at::Tensor blocks = at::empty({count, kQ8BlockBytes}, at::kByte);
  const float* const from = numbers.const_data_ptr<float>();
  auto* const to = static_cast<std::byte*>(blocks.mutable_data_ptr());
  at::parallel_for(0, count, kParallelBlocks, [&](int64_t begin, int64_t end) {
    QuantizeToQ8(from + begin * kQ8BlockNumbers, end - begin, to + begin * kQ8BlockBytes);
  });
  return blocks;
}

// The bytes of a slice in the type asked for, as a contiguous tensor, and the numbers in it that
// tell whether everything fitted: all of them, or the scales of the blocks.
struct Converted {
  at::Tensor bytes;
  at::Tensor numbers;
};

Converted Convert(const at::Tensor& slice, GgmlType type) {
  if (type == GgmlType::kQ8_0) {
    const at::Tensor blocks = ToQ8(slice);
    return {.bytes = blocks, .numbers = blocks.narrow(1, 0, 2).contiguous().view(at::kHalf)};
  }
  const at::ScalarType dtype = type == GgmlType::kF32   ? at::kFloat
                               : type == GgmlType::kF16 ? at::kHalf
                                                        : at::kBFloat16;
  const at::Tensor numbers = slice.to(dtype).contiguous();  // the slice itself where it can be
  return {.bytes = numbers, .numbers = numbers};
}

// Infinities and NaNs of the tensor itself are passed on where the type can hold them.
void CheckFits(const std::filesystem::path& file, const GgufTensor& tensor, const at::Tensor& slice,
               const Converted& converted) {
  const bool q8 = tensor.type == GgmlType::kQ8_0;
  if (!q8 && converted.numbers.scalar_type() == slice.scalar_type()) return;
  const at::Tensor infinite = at::isfinite(converted.numbers).logical_not();
  if (!infinite.any().item<bool>()) return;
  const at::Tensor finite = at::isfinite(slice);
  if (!q8 && !finite.logical_and(infinite.view_as(slice)).any().item<bool>()) return;
  const bool all_finite = finite.all().item<bool>();
  ThrowBadInput(
      {.what = "a number is too large for the type that is to be written",
       .where =
           fmt::format("{}: tensor \"{}\"", Printable(file.string(), 500), Printable(tensor.name)),
       .expected = fmt::format("numbers that {} can hold", FindGgmlType(tensor.type)->name),
       .found = all_finite ? fmt::format("{:g}", slice.abs().max().item<double>())
                           : "infinite ones, or such that are no numbers",
       .hint = "write F32"});
}

void WriteTensor(const std::filesystem::path& file, const GgufTensor& tensor, AtomicFile* out) {
  at::Tensor whole = tensor.tensor.detach();
  if (whole.numel() == 0) return;
  if (whole.dim() == 0) whole = whole.unsqueeze(0);
  // A multiple of the block: in a vector the slices are pieces of a row.
  const int64_t step = whole.dim() == 1
                           ? kSliceNumbers
                           : std::max<int64_t>(1, kSliceNumbers / (whole.numel() / whole.size(0)));
  static_assert(kSliceNumbers % kQ8BlockNumbers == 0);
  for (int64_t begin = 0; begin < whole.size(0); begin += step) {
    const int64_t length = std::min(step, whole.size(0) - begin);
    const at::Tensor slice = whole.narrow(0, begin, length).cpu();
    const Converted converted = Convert(slice, tensor.type);
    CheckFits(file, tensor, slice, converted);
    out->Write(converted.bytes.const_data_ptr(), converted.bytes.nbytes());
  }
}

}  // namespace

void WriteGguf(const std::filesystem::path& file, const GgufMetadata& metadata,
               const std::vector<GgufTensor>& tensors) {
  CheckInput(metadata, tensors);
  const uint64_t alignment = Alignment(metadata);
  AtomicFile out(file);
  out.Write(Header(metadata, tensors, alignment));
  for (const GgufTensor& tensor : tensors) {
    WriteTensor(file, tensor, &out);
    const uint64_t bytes = BytesOf(tensor);
    out.Write(std::string(GgufPad(bytes, alignment) - bytes, '\0'));
  }
  out.Commit();
}

}  // namespace coppice
