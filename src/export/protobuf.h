// The wire format of Protocol Buffers, as far as ONNX needs it: a message is a row of fields, each
// a tag (field number and wire type) and a varint, four bytes, or a length and that many bytes
// (protobuf.dev/programming-guides/encoding). Writing alone, without a schema: who calls knows the
// numbers. Same calls, same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

// A message being written, field by field in the order of the calls.
class ProtoMessage {
 public:
  void Int(uint32_t field, int64_t value);
  void Ints(uint32_t field, const std::vector<int64_t>& values);  // repeated, not packed
  void Float(uint32_t field, float value);
  void Bytes(uint32_t field, std::string_view bytes);  // strings and bytes
  void Message(uint32_t field, const ProtoMessage& message) { Bytes(field, message.bytes_); }
  // What stands in front of the bytes of a field that are written elsewhere.
  void BytesHeader(uint32_t field, uint64_t length);

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace coppice
