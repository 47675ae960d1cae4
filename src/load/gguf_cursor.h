// Reads the header of a GGUF file piece by piece. Nothing is handed out that does not lie in the
// file, and every message says where the piece was wanted: the file, and the key or tensor being
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace coppice {

class GgufCursor {
 public:
  // `bytes` is the whole of `file`, which is named in messages only; it must outlive the cursor.
  GgufCursor(std::span<const std::byte> bytes, const std::filesystem::path& file);

  // Names what is read from here on: kind "key" or "tensor"; Leave() ends that.
  void Enter(std::string_view kind, std::string_view name);
  void Leave() { place_.clear(); }

  uint64_t at() const { return at_; }  // bytes from the start of the file
  uint64_t left() const { return bytes_.size() - at_; }

  // The next `size` bytes; `what` names them in messages, as it does below.
  std::string_view Take(uint64_t size, std::string_view what);
  uint32_t U32(std::string_view what);
  uint64_t U64(std::string_view what);
  std::string_view String(std::string_view what);  // u64 length, text
  // The same for a name: UTF-8 of at most `limit` bytes.
  std::string_view Name(std::string_view what, size_t limit);
  // Takes nothing, but refuses `count` pieces of `size` bytes or more that do not fit in the rest.
  void ExpectRoom(uint64_t count, uint64_t size, std::string_view what) const;

  // Throws Error (kBadInput).
  [[noreturn]] void Fail(std::string what, std::string expected, std::string found,
                         std::string hint = "") const;

 private:
  std::span<const std::byte> bytes_;
  std::string file_;
  std::string place_;  // "key \"a.b\"", or empty
  uint64_t at_ = 0;
};

}  // namespace coppice
