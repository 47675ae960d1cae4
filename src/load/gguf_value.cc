#include "load/gguf_value.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the file's numbers are used as they lie");

constexpr std::array<GgufValueTypeInfo, 13> kValueTypes = {{
    {"U8", 1},
    {"I8", 1},
    {"U16", 2},
    {"I16", 2},
    {"U32", 4},
    {"I32", 4},
    {"F32", 4},
    {"BOOL", 1},
    {"STRING", 0},
    {"ARRAY", 0},
    {"U64", 8},
    {"I64", 8},
    {"F64", 8},
}};

template <typename T>
T Load(std::string_view bytes) {
  Check(bytes.size() >= sizeof(T), "GgufValue: bytes that are no value of its type");
  T number;
  std::memcpy(&number, bytes.data(), sizeof(number));
  return number;
}

// One element, decoded from the start of `bytes`; nothing when it is no T.

template <typename Integer, typename Stored>
std::optional<Integer> Narrow(Stored value) {
  if (!std::in_range<Integer>(value)) return std::nullopt;
  return static_cast<Integer>(value);
}

template <typename T>
std::optional<T> DecodeInteger(GgufValueType type, std::string_view bytes) {
  switch (type) {
    case GgufValueType::kU8:
      return Narrow<T>(Load<uint8_t>(bytes));
    case GgufValueType::kI8:
      return Narrow<T>(Load<int8_t>(bytes));
    case GgufValueType::kU16:
      return Narrow<T>(Load<uint16_t>(bytes));
    case GgufValueType::kI16:
      return Narrow<T>(Load<int16_t>(bytes));
    case GgufValueType::kU32:
      return Narrow<T>(Load<uint32_t>(bytes));
    case GgufValueType::kI32:
      return Narrow<T>(Load<int32_t>(bytes));
    case GgufValueType::kU64:
      return Narrow<T>(Load<uint64_t>(bytes));
    case GgufValueType::kI64:
      return Narrow<T>(Load<int64_t>(bytes));
    default:
      return std::nullopt;
  }
}

template <typename T>
std::optional<T> Decode(GgufValueType type, std::string_view bytes) {
  if constexpr (std::is_same_v<T, bool>) {
    if (type != GgufValueType::kBool) return std::nullopt;
    return Load<uint8_t>(bytes) != 0;
  } else if constexpr (std::is_integral_v<T>) {
    return DecodeInteger<T>(type, bytes);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (type == GgufValueType::kF32) return Load<float>(bytes);
    if (type == GgufValueType::kF64) return Load<double>(bytes);
    return std::nullopt;
  } else {
    if (type != GgufValueType::kString) return std::nullopt;
    const auto length = Load<uint64_t>(bytes);
    Check(bytes.size() - sizeof(length) >= length, "GgufValue: a string longer than its bytes");
    return std::string(bytes.substr(sizeof(length), length));
  }
}

// An array's own header, and what follows it.
struct Elements {
  GgufValueType type;
  uint64_t count;
  std::string_view bytes;
};

Elements ReadArray(std::string_view bytes) {
  constexpr size_t kHeader = sizeof(uint32_t) + sizeof(uint64_t);
  Check(bytes.size() >= kHeader, "GgufValue: an array shorter than its header");
  return {.type = static_cast<GgufValueType>(Load<uint32_t>(bytes)),
          .count = Load<uint64_t>(bytes.substr(sizeof(uint32_t))),
          .bytes = bytes.substr(kHeader)};
}

template <typename T>
std::optional<std::vector<T>> DecodeArray(Elements elements) {
  std::vector<T> decoded;
  for (uint64_t i = 0; i < elements.count; ++i) {
    std::optional<T> element = Decode<T>(elements.type, elements.bytes);
    if constexpr (std::is_same_v<T, int64_t>) {
      if (elements.type == GgufValueType::kBool) element = Load<uint8_t>(elements.bytes);
    }
    if (!element) return std::nullopt;
    uint64_t size = FindGgufValueType(elements.type)->size;
    if constexpr (std::is_same_v<T, std::string>) size = sizeof(uint64_t) + element->size();
    elements.bytes.remove_prefix(size);
    decoded.push_back(std::move(*element));
  }
  return decoded;
}

// ---- And the other way

template <typename T>
struct VectorTraits : std::false_type {};
template <typename T>
struct VectorTraits<std::vector<T>> : std::true_type {
  using Element = T;
};

template <typename T>
constexpr GgufValueType TypeOf() {
  if constexpr (std::is_same_v<T, uint32_t>) return GgufValueType::kU32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufValueType::kI32;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufValueType::kU64;
  if constexpr (std::is_same_v<T, float>) return GgufValueType::kF32;
  if constexpr (std::is_same_v<T, bool>) return GgufValueType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufValueType::kString;
  if constexpr (VectorTraits<T>::value) return GgufValueType::kArray;
}

template <typename T>
void Append(const T& value, std::string* bytes) {
  if constexpr (std::is_same_v<T, std::string>) {
    Append<uint64_t>(value.size(), bytes);
    bytes->append(value);
  } else if constexpr (VectorTraits<T>::value) {
    Append(static_cast<uint32_t>(TypeOf<typename VectorTraits<T>::Element>()), bytes);
    Append<uint64_t>(value.size(), bytes);
    for (const auto& element : value) Append(element, bytes);
  } else {
    static_assert(sizeof(bool) == 1);
    bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

}  // namespace

const GgufValueTypeInfo* FindGgufValueType(GgufValueType type) {
  const auto number = static_cast<size_t>(type);
  return number < kValueTypes.size() ? &kValueTypes[number] : nullptr;
}

template <typename T>
GgufValue GgufValue::From(const T& value) {
  std::string bytes;
  Append(value, &bytes);
  return {TypeOf<T>(), std::move(bytes)};
}

template <typename T>
std::optional<T> GgufValue::As() const {
  if constexpr (VectorTraits<T>::value) {
    if (!is_array()) return std::nullopt;
    return DecodeArray<typename VectorTraits<T>::Element>(ReadArray(bytes_));
  } else {
    return Decode<T>(type_, bytes_);
  }
}

std::string GgufValue::Describe() const {
  if (!is_array()) return std::string(FindGgufValueType(type_)->name);
  const Elements elements = ReadArray(bytes_);
  return fmt::format("an array of {} {}", elements.count, FindGgufValueType(elements.type)->name);
}

template GgufValue GgufValue::From(const uint32_t&);
template GgufValue GgufValue::From(const int32_t&);
template GgufValue GgufValue::From(const uint64_t&);
template GgufValue GgufValue::From(const float&);
template GgufValue GgufValue::From(const bool&);
template GgufValue GgufValue::From(const std::string&);
template GgufValue GgufValue::From(const std::vector<int32_t>&);
template GgufValue GgufValue::From(const std::vector<float>&);
template GgufValue GgufValue::From(const std::vector<std::string>&);

template std::optional<uint64_t> GgufValue::As() const;
template std::optional<int64_t> GgufValue::As() const;
template std::optional<double> GgufValue::As() const;
template std::optional<bool> GgufValue::As() const;
template std::optional<std::string> GgufValue::As() const;
template std::optional<std::vector<int64_t>> GgufValue::As() const;
template std::optional<std::vector<double>> GgufValue::As() const;
template std::optional<std::vector<std::string>> GgufValue::As() const;

}  // namespace coppice
