// One value of a GGUF file's metadata: a number, a bool, a string or an array.
//
// It is kept as the bytes it has in the file, together with its exact type, and decoded when asked
// for: so a value that is only passed on is written back unchanged, whatever it is (U8 against U32,
// the bits of a NaN, arrays in arrays).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace coppice {

enum class GgufValueType : uint32_t {  // the file's own numbers
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

struct GgufValueTypeInfo {
  std::string_view name;  // "U32"
  uint64_t size;          // bytes; 0 for strings and arrays, which say it themselves
};

// The row of that type, or nullptr when there is none.
const GgufValueTypeInfo* FindGgufValueType(GgufValueType type);

class GgufValue {
 public:
  // `bytes` must be a value of that type as a file holds it: ReadGgufHeader() checks those it
  // makes. A string is u64 length, text; an array is u32 element type, u64 count, elements.
  GgufValue(GgufValueType type, std::string bytes) : type_(type), bytes_(std::move(bytes)) {}

  // The value of the type that T names: uint32_t is U32, std::vector<int32_t> an array of I32. T is
  // uint32_t, int32_t, uint64_t, float, bool, std::string, or a vector of int32_t, float or
  // std::string.
  template <typename T>
  static GgufValue From(const T& value);

  // The value as a T, or nothing when it is of another kind or does not fit:
  //   uint64_t, int64_t                                 any integer
  //   double                                            F32, F64
  //   bool, std::string                                 themselves
  //   std::vector<int64_t>                              an array of any integers, or of bools
  //   std::vector<double>, std::vector<std::string>     an array of these
  // An array of none is an array of each.
  template <typename T>
  std::optional<T> As() const;

  GgufValueType type() const { return type_; }
  bool is_array() const { return type_ == GgufValueType::kArray; }
  const std::string& bytes() const { return bytes_; }
  // Its type for a message: "U32", "an array of 3 I32".
  std::string Describe() const;

  bool operator==(const GgufValue&) const = default;

 private:
  GgufValueType type_;
  std::string bytes_;
};

}  // namespace coppice
