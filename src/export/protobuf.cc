#include "export/protobuf.h"

#include <array>
#include <bit>

namespace coppice {
namespace {

enum WireType : uint32_t { kVarint = 0, kLengthDelimited = 2, kFourBytes = 5 };

// Seven bits a byte, the lowest first; the top bit says that more follow.
void AppendVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

void AppendTag(uint32_t field, WireType type, std::string* bytes) {
  AppendVarint(uint64_t{field} << 3 | type, bytes);
}

}  // namespace

void ProtoMessage::Int(uint32_t field, int64_t value) {
  AppendTag(field, kVarint, &bytes_);
  AppendVarint(static_cast<uint64_t>(value), &bytes_);  // negative numbers take ten bytes
}

void ProtoMessage::Ints(uint32_t field, const std::vector<int64_t>& values) {
  for (const int64_t value : values) Int(field, value);
}

void ProtoMessage::Float(uint32_t field, float value) {
  static_assert(std::endian::native == std::endian::little);
  AppendTag(field, kFourBytes, &bytes_);
  const auto bytes = std::bit_cast<std::array<char, sizeof(value)>>(value);
  bytes_.append(bytes.data(), bytes.size());
}

void ProtoMessage::Bytes(uint32_t field, std::string_view bytes) {
  BytesHeader(field, bytes.size());
  bytes_.append(bytes);
}

void ProtoMessage::BytesHeader(uint32_t field, uint64_t length) {
  AppendTag(field, kLengthDelimited, &bytes_);
  AppendVarint(length, &bytes_);
}

}  // namespace coppice
