// A reader of Protocol Buffers for tests, written apart from the writer: fields by number, messages
// read when they are asked for.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"

namespace coppice {

class ProtoReader {
 public:
  explicit ProtoReader(const std::string& bytes) {
    size_t at = 0;
    while (at < bytes.size()) {
      const uint64_t tag = Varint(bytes, &at);
      Value value;
      if (tag % 8 == 0) {
        value.number = static_cast<int64_t>(Varint(bytes, &at));
      } else {
        const size_t size = tag % 8 == 5 ? 4 : Varint(bytes, &at);
        Check(tag % 8 == 5 || tag % 8 == 2, "a wire type that ONNX does not have");
        Check(size <= bytes.size() - at, "a field ends after its message");
        value.bytes = bytes.substr(at, size);
        at += size;
      }
      fields_[tag / 8].push_back(value);
    }
  }

  size_t Count(uint64_t field) const { return fields_.count(field) ? fields_.at(field).size() : 0; }
  int64_t Int(uint64_t field, size_t i = 0) const { return fields_.at(field).at(i).number; }
  std::string Text(uint64_t field, size_t i = 0) const { return fields_.at(field).at(i).bytes; }
  ProtoReader Message(uint64_t field, size_t i = 0) const { return ProtoReader(Text(field, i)); }
  std::vector<int64_t> Ints(uint64_t field) const {
    std::vector<int64_t> all;
    for (size_t i = 0; i < Count(field); ++i) all.push_back(Int(field, i));
    return all;
  }
  float Float(uint64_t field) const {
    float number = 0;
    std::memcpy(&number, Text(field).data(), sizeof(number));
    return number;
  }

 private:
  struct Value {
    int64_t number = 0;
    std::string bytes;
  };

  static uint64_t Varint(const std::string& bytes, size_t* at) {
    uint64_t number = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at((*at)++));
      number |= uint64_t{byte & 127U} << shift;
      if (byte < 128) return number;
    }
  }

  std::map<uint64_t, std::vector<Value>> fields_;
};

}  // namespace coppice
