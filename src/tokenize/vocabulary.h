// Tokens and their ids. Ids need not be dense, but no two tokens share one, and all are below
// kMaxTokenId: several tables are indexed by id, and a file must not be able to make them huge.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenize/json_node.h"

namespace coppice {

inline constexpr int32_t kMaxTokenId = 1 << 22;

// Lets a map with string keys be searched by string_view.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokenMap = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // Reads an object of tokens and ids.
  static Vocabulary Read(const JsonNode& node);

  // False when the token or the id is taken.
  bool Add(const std::string& token, int32_t id);

  std::optional<int32_t> Find(std::string_view token) const;
  // The token of an id, if it has one; any number may be asked for.
  const std::string* Token(int32_t id) const;
  bool HasId(int32_t id) const { return Token(id) != nullptr; }
  size_t count() const { return ids_.size(); }
  int32_t IdLimit() const { return static_cast<int32_t>(tokens_.size()); }  // highest id + 1
  const TokenMap& ids() const { return ids_; }

 private:
  TokenMap ids_;
  std::vector<const std::string*> tokens_;  // by id; keys of ids_, or null
};

}  // namespace coppice
