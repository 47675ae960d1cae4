#include "load/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "load/safetensors_dtype.h"
#include "load/strict_json.h"

namespace coppice {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "the file's numbers are used as they lie");

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr uint64_t kNumberLimit = uint64_t{1} << 53;  // what every JSON reader holds exactly
constexpr JsonLimits kHeaderLimits = {.depth = 8, .values = 4000000};

// Where a message points: the file, and a tensor in it.
struct Place {
  std::string file;
  std::string_view tensor = {};

  std::string Text() const {
    return tensor.data() == nullptr ? file
                                    : fmt::format("{}: tensor \"{}\"", file, Printable(tensor));
  }
  [[noreturn]] void Fail(std::string what, std::string expected, std::string found,
                         std::string hint = "") const {
    ThrowBadInput({.what = std::move(what),
                   .where = Text(),
                   .expected = std::move(expected),
                   .found = std::move(found),
                   .hint = std::move(hint)});
  }
};

// A JSON value for a message, short.
std::string Show(const json& value) {
  if (value.is_structured()) return fmt::format("{} of {}", value.type_name(), value.size());
  return Printable(value.dump());
}

// The bytes of the JSON text; checks everything in front of it.
std::string_view HeaderText(std::span<const std::byte> bytes, const Place& place) {
  if (bytes.size() < sizeof(uint64_t)) {
    place.Fail("the file is too short for a safetensors file", "at least 8 bytes",
               fmt::format("{}", bytes.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  const uint64_t room = bytes.size() - sizeof(length);
  if (length == 0) place.Fail("the header is empty", "a JSON object", "a length of 0");
  if (length > kMaxHeaderBytes) {
    place.Fail("the header is too long", fmt::format("at most {} bytes", kMaxHeaderBytes),
               fmt::format("{}", length), "this is not a safetensors file, or a damaged one");
  }
  if (length > room) {
    place.Fail("the header ends beyond the file", fmt::format("{} bytes of header", length),
               fmt::format("{}", room), "the file is cut short: fetch it again");
  }
  const char* text = reinterpret_cast<const char*>(bytes.data() + sizeof(length));
  if (*text != '{') {
    place.Fail("the header is not a JSON object", "'{' as its first byte",
               fmt::format("0x{:02x}", static_cast<unsigned char>(*text)));
  }
  return {text, length};
}

uint64_t ReadNumber(const json& value, std::string_view what, const Place& place) {
  const auto fail = [&] {
    place.Fail(fmt::format("{} holds a bad number", what), "an integer from 0 to 2^53 - 1",
               Show(value));
  };
  if (!value.is_number_unsigned()) fail();
  const uint64_t number = value.get<uint64_t>();
  if (number >= kNumberLimit) fail();
  return number;
}

std::vector<int64_t> ReadShape(const json& value, const Place& place) {
  if (!value.is_array()) place.Fail("\"shape\" is not a list", "[...]", Show(value));
  if (value.size() > kMaxTensorRank) {
    place.Fail("the shape has too many dimensions", fmt::format("at most {}", kMaxTensorRank),
               fmt::format("{}", value.size()));
  }
  std::vector<int64_t> shape;
  for (const json& size : value) {
    shape.push_back(static_cast<int64_t>(ReadNumber(size, "\"shape\"", place)));
  }
  return shape;
}

// The number of elements. A size of 0 counts as 1 while overflow is looked for: strides are
// products of the other sizes, also where there are no elements.
uint64_t CountElements(const std::vector<int64_t>& shape, const Place& place) {
  int64_t product = 1;
  bool none = false;
  for (const int64_t size : shape) {
    none = none || size == 0;
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) {
      place.Fail("the shape is too large", "a product below 2^63",
                 fmt::format("[{}]", fmt::join(shape, ", ")));
    }
  }
  return none ? 0 : static_cast<uint64_t>(product);
}

// A dtype we have never heard of has no known size; Get() refuses it.
void CheckByteSize(const TensorInfo& info, uint64_t elements, const Place& place) {
  const SafetensorsDtype* dtype = FindSafetensorsDtype(info.dtype);
  if (dtype == nullptr) return;
  const std::string shape = fmt::format("{} [{}]", info.dtype, fmt::join(info.shape, ", "));
  uint64_t bits = 0;
  if (__builtin_mul_overflow(elements, dtype->bits, &bits)) {
    place.Fail("the tensor is too large", "fewer than 2^64 bits", shape);
  }
  if (bits % 8 != 0) {
    place.Fail("the tensor does not fill whole bytes", "a multiple of 8 bits",
               fmt::format("{} bits, {}", bits, shape));
  }
  if (info.end - info.begin != bits / 8) {
    place.Fail("\"data_offsets\" do not fit the dtype and shape",
               fmt::format("{} bytes for {}", bits / 8, shape),
               fmt::format("{}", info.end - info.begin));
  }
}

TensorInfo ReadEntry(const json& entry, const Place& place) {
  if (!entry.is_object()) place.Fail("the entry is not a JSON object", "{...}", Show(entry));
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!entry.contains(field)) {
      place.Fail("a field is missing", fmt::format("\"{}\"", field), "none");
    }
  }
  for (const auto& [field, value] : entry.items()) {
    if (field != "dtype" && field != "shape" && field != "data_offsets") {
      place.Fail("an unknown field", "dtype, shape and data_offsets only",
                 fmt::format("\"{}\"", Printable(field)));
    }
  }
  const json& dtype = entry["dtype"];
  if (!dtype.is_string()) place.Fail("\"dtype\" is not a string", "\"F32\", ...", Show(dtype));
  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    place.Fail("bad \"data_offsets\"", "[begin, end]", Show(offsets));
  }
  TensorInfo info = {.dtype = dtype.get<std::string>(),
                     .shape = ReadShape(entry["shape"], place),
                     .begin = ReadNumber(offsets[0], "\"data_offsets\"", place),
                     .end = ReadNumber(offsets[1], "\"data_offsets\"", place)};
  if (info.begin > info.end) {
    place.Fail("\"data_offsets\" are reversed", "begin <= end",
               fmt::format("[{}, {}]", info.begin, info.end));
  }
  CheckByteSize(info, CountElements(info.shape, place), place);
  return info;
}

std::map<std::string, std::string> ReadMetadata(const json& value, const Place& place) {
  if (!value.is_object()) {
    place.Fail("\"__metadata__\" is not a JSON object", "strings by string", Show(value));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      place.Fail(fmt::format("\"__metadata__\" holds more than strings: \"{}\"", Printable(key)),
                 "a string", Show(text));
    }
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

// The tensors, laid end to end, must be the data: no holes, no overlaps, nothing after them.
void CheckLayout(const SafetensorsHeader& header, uint64_t file_size, Place place) {
  using Row = std::map<std::string, TensorInfo>::value_type;
  std::vector<const Row*> rows;
  for (const Row& row : header.tensors) rows.push_back(&row);
  // By end as well: an empty tensor lies in front of the one that begins where it does.
  std::stable_sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t end = 0;
  std::string before = "the start of the data";
  for (const Row* row : rows) {
    const auto& [name, info] = *row;
    place.tensor = name;
    const std::string expected = fmt::format("byte {}, after {}", end, before);
    const std::string found = fmt::format("byte {}", info.begin);
    if (info.begin < end) place.Fail("the data overlaps another tensor's", expected, found);
    if (info.begin > end) place.Fail("there is a hole in front of the data", expected, found);
    end = info.end;
    before = fmt::format("tensor \"{}\"", Printable(name));
  }
  place.tensor = {};
  const uint64_t expected_size = header.data_begin + end;  // both far below 2^63
  const std::string expected = fmt::format("{} bytes", expected_size);
  const std::string found = fmt::format("{}", file_size);
  if (file_size < expected_size) {
    place.Fail("the file is cut short", expected, found, "fetch it again");
  }
  if (file_size > expected_size) place.Fail("bytes follow the last tensor", expected, found);
}

}  // namespace

SafetensorsHeader ReadSafetensorsHeader(std::span<const std::byte> bytes,
                                        const std::filesystem::path& file) {
  Place place = {.file = Printable(file.string(), 500)};
  const std::string_view text = HeaderText(bytes, place);
  const json parsed = ParseStrictJson<json>(text, file, "header", kHeaderLimits);
  if (parsed.size() > kMaxTensors + parsed.count(kMetadataKey)) {
    place.Fail("too many tensors", fmt::format("at most {}", kMaxTensors),
               fmt::format("{}", parsed.size() - parsed.count(kMetadataKey)));
  }
  SafetensorsHeader header;
  header.data_begin = sizeof(uint64_t) + text.size();
  for (const auto& [name, value] : parsed.items()) {
    place.tensor = {};
    if (name == kMetadataKey) {
      header.metadata = ReadMetadata(value, place);
      continue;
    }
    place.tensor = name;
    if (name.size() > kMaxTensorName) {
      place.Fail("the name is too long", fmt::format("at most {} bytes", kMaxTensorName),
                 fmt::format("{}", name.size()));
    }
    header.tensors.emplace(name, ReadEntry(value, place));
  }
  place.tensor = {};
  CheckLayout(header, bytes.size(), place);
  return header;
}

}  // namespace coppice
