#include "load/gguf_cursor.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace coppice {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the file's numbers are used as they lie");

constexpr std::string_view kCutHint = "the file is cut short or damaged: fetch it again";

// The bytes of the UTF-8 sequence that `lead` begins, or 0 when none begins so.
size_t SequenceLength(uint32_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
}

// How many bytes at the start of `text` are whole UTF-8 sequences: neither overlong nor surrogates.
size_t Utf8Prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const size_t length = SequenceLength(lead);
    if (length == 0 || length > text.size() - at) break;
    uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    bool valid = true;
    for (const char next : text.substr(at + 1, length - 1)) {
      valid = valid && (static_cast<unsigned char>(next) & 0xC0) == 0x80;
      code = code << 6 | (static_cast<unsigned char>(next) & 0x3F);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xD800 && code < 0xE000;
    if (!valid || overlong || surrogate || code > 0x10FFFF) break;
    at += length;
  }
  return at;
}

}  // namespace

GgufCursor::GgufCursor(std::span<const std::byte> bytes, const std::filesystem::path& file)
    : bytes_(bytes), file_(Printable(file.string(), 500)) {}

void GgufCursor::Enter(std::string_view kind, std::string_view name) {
  place_ = fmt::format("{} \"{}\"", kind, Printable(name));
}

std::string_view GgufCursor::Take(uint64_t size, std::string_view what) {
  ExpectRoom(size, 1, what);
  const char* const data = reinterpret_cast<const char*>(bytes_.data()) + at_;
  at_ += size;
  return {data, size};
}

uint32_t GgufCursor::U32(std::string_view what) {
  uint32_t number = 0;
  std::memcpy(&number, Take(sizeof(number), what).data(), sizeof(number));
  return number;
}

uint64_t GgufCursor::U64(std::string_view what) {
  uint64_t number = 0;
  std::memcpy(&number, Take(sizeof(number), what).data(), sizeof(number));
  return number;
}

std::string_view GgufCursor::String(std::string_view what) { return Take(U64(what), what); }

std::string_view GgufCursor::Name(std::string_view what, size_t limit) {
  const std::string_view name = String(what);
  if (name.size() > limit) {
    Fail(fmt::format("{} is too long", what), fmt::format("at most {} bytes", limit),
         fmt::format("{}", name.size()));
  }
  const size_t valid = Utf8Prefix(name);
  if (valid < name.size()) {
    Fail(fmt::format("{} is not valid UTF-8", what), "",
         fmt::format("byte 0x{:02x} at position {}", static_cast<unsigned char>(name[valid]),
                     valid));
  }
  return name;
}

void GgufCursor::ExpectRoom(uint64_t count, uint64_t size, std::string_view what) const {
  if (count <= left() / size) return;
  const std::string wanted =
      size == 1 ? fmt::format("{} bytes", count) : fmt::format("{} of {} bytes each", count, size);
  Fail(fmt::format("the file ends inside {}", what), fmt::format("{} from byte {} on", wanted, at_),
       fmt::format("{} bytes", left()), std::string(kCutHint));
}

void GgufCursor::Fail(std::string what, std::string expected, std::string found,
                      std::string hint) const {
  ThrowBadInput({.what = std::move(what),
                 .where = place_.empty() ? file_ : fmt::format("{}: {}", file_, place_),
                 .expected = std::move(expected),
                 .found = std::move(found),
                 .hint = std::move(hint)});
}

}  // namespace coppice
