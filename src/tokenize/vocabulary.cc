#include "tokenize/vocabulary.h"

#include <fmt/format.h>

namespace coppice {

Vocabulary Vocabulary::Read(const JsonNode& node) {
  if (!node.value().is_object()) node.Fail({.what = "wrong value", .expected = "an object"});
  Vocabulary vocabulary;
  vocabulary.ids_.reserve(node.value().size());
  for (const auto& [token, id] : node.value().items()) {
    const bool whole = id.is_number_unsigned();
    if (!whole || id.get<uint64_t>() >= static_cast<uint64_t>(kMaxTokenId)) {
      node.Fail({.what = fmt::format("bad id of token \"{}\"", Printable(token)),
                 .expected = fmt::format("a whole number from 0 to {}", kMaxTokenId - 1),
                 .found = Printable(id.dump(-1, ' ', true))});
    }
    if (!vocabulary.Add(token, id.get<int32_t>())) {
      node.Fail({.what = fmt::format("token \"{}\" has the id {}, which another token has too",
                                     Printable(token), id.get<int32_t>())});
    }
  }
  return vocabulary;
}

bool Vocabulary::Add(const std::string& token, int32_t id) {
  if (HasId(id)) return false;
  const auto [place, added] = ids_.emplace(token, id);
  if (!added) return false;
  if (id >= IdLimit()) tokens_.resize(static_cast<size_t>(id) + 1);
  tokens_[static_cast<size_t>(id)] = &place->first;
  return true;
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::Token(int32_t id) const {
  return id >= 0 && id < IdLimit() ? tokens_[static_cast<size_t>(id)] : nullptr;
}

}  // namespace coppice
