// What the tests of this folder share: the committed tokenizers, changed copies of them, and the
// digest of tools/make_tokenizer_goldens.py. For tests alone.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "core/file.h"
#include "tokenize/tokenizer.h"

namespace coppice {

inline nlohmann::json ReadTestJson(const std::string& name) {
  const auto folder = std::filesystem::path(COPPICE_SOURCE_DIR) / "testdata" / "tokenizers";
  return nlohmann::json::parse(ReadFile(folder / name));
}

inline Tokenizer LoadTestTokenizer(const nlohmann::json& document) {
  return Tokenizer::Parse(document.dump(), "tokenizer.json");
}

// 64-bit FNV-1a over 32-bit numbers; every list follows its length.
class Digest {
 public:
  template <typename Number>
  void AddList(std::span<const Number> numbers) {
    Add(static_cast<uint32_t>(numbers.size()));
    for (const Number number : numbers) Add(static_cast<uint32_t>(number));
  }
  std::string Hex() const { return fmt::format("{:016x}", value_); }

 private:
  void Add(uint32_t number) { value_ = (value_ ^ number) * 0x100000001B3U; }

  uint64_t value_ = 0xCBF29CE484222325U;
};

}  // namespace coppice
