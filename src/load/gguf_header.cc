#include "load/gguf_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string_view>
#include <unordered_set>

#include "core/error.h"
#include "load/gguf_cursor.h"

namespace coppice {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"

// The least that a value (empty key, one byte) and a tensor (empty name, no dimensions) take.
constexpr uint64_t kSmallestValue = 8 + 4 + 1;
constexpr uint64_t kSmallestTensor = 8 + 4 + 4 + 8;

void ReadVersion(GgufCursor& cursor) {
  const uint32_t magic = cursor.U32("the first four bytes");
  if (magic != kMagic) {
    cursor.Fail("this is not a GGUF file", "\"GGUF\" as its first four bytes",
                fmt::format("0x{:08x}", __builtin_bswap32(magic)));
  }
  const uint32_t version = cursor.U32("the version");
  if (version == 2 || version == 3) return;
  const std::string expected = "version 2 or 3, little-endian";
  if (version == 1) {
    cursor.Fail("the file is GGUF version 1, which is not supported", expected, "version 1",
                "convert the model again with a current converter");
  }
  if (version != 0 && (version & 0xFFFF) == 0) {
    cursor.Fail("the file is big-endian, which is not supported", expected,
                fmt::format("version {}, big-endian", __builtin_bswap32(version)));
  }
  cursor.Fail("unknown GGUF version", expected, fmt::format("{}", version));
}

uint64_t ReadCount(GgufCursor& cursor, std::string_view of, uint64_t limit) {
  const uint64_t count = cursor.U64(fmt::format("the number of {}", of));
  if (count > limit) {
    cursor.Fail(fmt::format("too many {}", of), fmt::format("at most {}", limit),
                fmt::format("{}", count), "the file is damaged, or not meant for this program");
  }
  return count;
}

// ---- Metadata

uint64_t KnownSize(GgufCursor& cursor, uint32_t number) {
  const GgufValueTypeInfo* const info = FindGgufValueType(static_cast<GgufValueType>(number));
  if (info == nullptr) cursor.Fail("unknown type of value", "0 to 12", fmt::format("{}", number));
  return info->size;
}

// Any other byte is not a bool to the programs that read one by its address.
void CheckBools(GgufCursor& cursor, std::string_view bytes) {
  for (const char byte : bytes) {
    if (byte != 0 && byte != 1) {
      cursor.Fail("bad BOOL", "0 or 1", fmt::format("{}", static_cast<unsigned char>(byte)));
    }
  }
}

void PassArray(GgufCursor& cursor, int depth);

// Goes over `count` values of one type, `depth` arrays deep, and checks them.
void PassValues(GgufCursor& cursor, uint32_t number, uint64_t count, int depth) {
  const uint64_t size = KnownSize(cursor, number);
  const auto type = static_cast<GgufValueType>(number);
  if (size > 0) {
    cursor.ExpectRoom(count, size, "the value");
    const std::string_view bytes = cursor.Take(count * size, "the value");
    if (type == GgufValueType::kBool) CheckBools(cursor, bytes);
    return;
  }
  cursor.ExpectRoom(count, type == GgufValueType::kString ? 8 : 4 + 8, "the value");
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufValueType::kString) {
      cursor.String("the value");
    } else {
      PassArray(cursor, depth + 1);
    }
  }
}

void PassArray(GgufCursor& cursor, int depth) {
  if (depth > kMaxGgufArrayDepth) {
    cursor.Fail("arrays are nested too deeply",
                fmt::format("at most {} levels", kMaxGgufArrayDepth), "more");
  }
  const uint32_t number = cursor.U32("the type of the elements");
  PassValues(cursor, number, cursor.U64("the number of elements"), depth);
}

GgufMetadata ReadMetadata(GgufCursor& cursor, std::span<const std::byte> bytes, uint64_t count) {
  GgufMetadata metadata;
  std::unordered_set<std::string_view> keys;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.Name("a key", kMaxGgufKey);
    if (key.empty()) cursor.Fail("a key is empty", "a name", "\"\"");
    cursor.Enter("key", key);
    if (!keys.insert(key).second)
      cursor.Fail("the key stands there twice", "every key once", "two");
    const uint32_t type = cursor.U32("the type of the value");
    const uint64_t begin = cursor.at();
    PassValues(cursor, type, 1, 0);
    const uint64_t size = cursor.at() - begin;
    if (size > kMaxGgufValueBytes) {
      cursor.Fail("the value is too large", fmt::format("at most {} bytes", kMaxGgufValueBytes),
                  fmt::format("{}", size));
    }
    const char* const data = reinterpret_cast<const char*>(bytes.data()) + begin;
    metadata.emplace_back(std::string(key),
                          GgufValue(static_cast<GgufValueType>(type), std::string(data, size)));
    cursor.Leave();
  }
  return metadata;
}

uint64_t Alignment(GgufCursor& cursor, const GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != kGgufAlignmentKey) continue;
    cursor.Enter("key", key);
    const auto alignment = value.As<uint64_t>();
    if (value.type() != GgufValueType::kU32 || !std::has_single_bit(*alignment) ||
        *alignment > kMaxGgufAlignment) {
      const std::string number = alignment ? fmt::format("{}, ", *alignment) : "";
      cursor.Fail("bad alignment",
                  fmt::format("a power of two, U32, at most {}", kMaxGgufAlignment),
                  number + value.Describe());
    }
    cursor.Leave();
    return *alignment;
  }
  return kGgufDefaultAlignment;
}

// ---- Tensors

// The bytes that a tensor of this type and shape takes. A size of 0 counts as 1 while overflow is
// looked for: strides are products of the other sizes, also where there are no elements.
uint64_t CountBytes(const GgufCursor& cursor, const GgmlTypeInfo& type,
                    const std::vector<int64_t>& shape) {
  const std::string found = fmt::format("{} [{}]", type.name, fmt::join(shape, ", "));
  int64_t elements = 1;
  int64_t bytes = 0;
  bool none = false;
  bool overflow = false;
  for (const int64_t size : shape) {
    none = none || size == 0;
    overflow = overflow || __builtin_mul_overflow(elements, std::max<int64_t>(size, 1), &elements);
  }
  const auto block = static_cast<int64_t>(type.block);
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % block != 0) {
    cursor.Fail("a row does not fill whole blocks", fmt::format("a multiple of {}", block), found);
  }
  if (overflow || __builtin_mul_overflow(none ? 0 : elements / block, type.bytes, &bytes)) {
    cursor.Fail("the tensor is too large", "fewer than 2^63 elements and bytes", found);
  }
  return static_cast<uint64_t>(bytes);
}

GgufTensorInfo ReadTensorInfo(GgufCursor& cursor) {
  GgufTensorInfo info;
  info.name = std::string(cursor.Name("a tensor's name", kMaxGgufTensorName));
  cursor.Enter("tensor", info.name);
  const uint32_t dimensions = cursor.U32("the number of dimensions");
  if (dimensions > kMaxGgufDimensions) {
    cursor.Fail("too many dimensions", fmt::format("at most {}", kMaxGgufDimensions),
                fmt::format("{}", dimensions));
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const uint64_t size = cursor.U64("the shape");
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      cursor.Fail("the shape is too large", "sizes below 2^63", fmt::format("{}", size));
    }
    info.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(info.shape.begin(), info.shape.end());
  info.type = static_cast<GgmlType>(cursor.U32("the type"));
  const GgmlTypeInfo* const type = FindGgmlType(info.type);
  if (type == nullptr) {
    cursor.Fail("unknown type", "a type of ggml",
                fmt::format("{}", static_cast<uint32_t>(info.type)),
                "the file is damaged, or newer than this program");
  }
  info.bytes = CountBytes(cursor, *type, info.shape);
  info.offset = cursor.U64("the offset");
  cursor.Leave();
  return info;
}

std::vector<GgufTensorInfo> ReadTensorInfos(GgufCursor& cursor, uint64_t count) {
  std::vector<GgufTensorInfo> tensors;
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    tensors.push_back(ReadTensorInfo(cursor));
    const std::string& name = tensors.back().name;
    if (!names.insert(name).second) {
      cursor.Enter("tensor", name);
      cursor.Fail("the tensor stands there twice", "every name once", "two");
    }
  }
  return tensors;
}

// The tensors, each padded and laid end to end in their order, must be the data. The file may end
// with or without the last one's padding; nothing else follows.
void CheckLayout(GgufCursor& cursor, const GgufHeader& header, uint64_t file_size,
                 uint64_t alignment) {
  const uint64_t room = file_size > header.data_begin ? file_size - header.data_begin : 0;
  uint64_t next = 0;  // where a tensor must begin; the last one was whole, so that it is small
  uint64_t end = cursor.at();
  for (const GgufTensorInfo& info : header.tensors) {
    cursor.Enter("tensor", info.name);
    if (info.offset != next) {
      cursor.Fail("the data is not where the tensor before it ends",
                  fmt::format("offset {}, a multiple of {}", next, alignment),
                  fmt::format("{}", info.offset));
    }
    if (next > room || info.bytes > room - next) {
      cursor.Fail("the data ends beyond the file",
                  fmt::format("{} bytes from byte {} on", info.bytes, header.data_begin + next),
                  fmt::format("a file of {}", file_size), "the file is cut short: fetch it again");
    }
    end = header.data_begin + next + info.bytes;
    next = GgufPad(next + info.bytes, alignment);
  }
  cursor.Leave();
  if (file_size > GgufPad(end, alignment)) {
    cursor.Fail("bytes follow the last tensor", fmt::format("{} bytes", GgufPad(end, alignment)),
                fmt::format("{}", file_size));
  }
}

}  // namespace

GgufHeader ReadGgufHeader(std::span<const std::byte> bytes, const std::filesystem::path& file) {
  GgufCursor cursor(bytes, file);
  ReadVersion(cursor);
  const uint64_t tensors = ReadCount(cursor, "tensors", kMaxGgufTensors);
  const uint64_t values = ReadCount(cursor, "values", kMaxGgufValues);
  cursor.ExpectRoom(tensors * kSmallestTensor + values * kSmallestValue, 1, "the header");
  GgufHeader header;
  header.metadata = ReadMetadata(cursor, bytes, values);
  const uint64_t alignment = Alignment(cursor, header.metadata);
  header.tensors = ReadTensorInfos(cursor, tensors);
  header.data_begin = GgufPad(cursor.at(), alignment);
  CheckLayout(cursor, header, bytes.size(), alignment);
  return header;
}

uint64_t GgufPad(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) & ~(alignment - 1);
}

}  // namespace coppice
