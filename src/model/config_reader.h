// Typed, bounded reads of config.json; every refusal names the file, the key, what was expected and
// what was found.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

inline constexpr int64_t kMaxDimension = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 1024;

class ConfigReader {
 public:
  // json must outlive the reader. where: the file, for messages.
  ConfigReader(const nlohmann::ordered_json& json, std::string where)
      : json_(json), where_(std::move(where)) {}

  // All throw Error (kBadInput) for a value of another type or outside of [low, high]. A key that
  // is absent or null gives the fallback, where there is one.
  int64_t Integer(const std::string& key, int64_t low, int64_t high) const;
  int64_t IntegerOr(const std::string& key, int64_t fallback, int64_t low, int64_t high) const;
  std::string TextOr(const std::string& key, const std::string& fallback) const;
  double NumberOr(const std::string& key, double fallback) const;
  bool BooleanOr(const std::string& key, bool fallback) const;
  // An object, or null when it is absent.
  const nlohmann::ordered_json* Object(const std::string& key) const;

  // The sizes of a pruned model, `name` being "heads" or "channels"; `dense` for every layer
  // without them.
  std::vector<int64_t> Sizes(const std::string& name, int64_t layers, int64_t dense) const;

  // The widths inside a pruned model's heads, `name` being "values" or "keys": from 1 to `dense`,
  // which is what every layer has where the model does not say.
  std::vector<int64_t> Widths(const std::string& name, int64_t layers, int64_t dense) const;

  // "coppice.pairs", which of a head's `dense` pairs turn: of each layer a list without repeats, or
  // an empty one for all of them. Empty lists where the model does not say.
  std::vector<std::vector<int64_t>> Pairs(int64_t layers, int64_t dense) const;

  const std::string& where() const { return where_; }

 private:
  // Null when the key is absent or null; refuses a value of another type.
  template <typename Predicate>
  const nlohmann::ordered_json* Find(const std::string& key, Predicate good,
                                     const std::string& expected) const;
  [[noreturn]] void Fail(const std::string& key, int64_t low, int64_t high,
                         const std::string& found) const;
  [[noreturn]] void FailBlock(const std::string& name, const std::string& least, int64_t layers,
                              int64_t most, const std::string& found) const;

  const nlohmann::ordered_json& json_;
  std::string where_;
};

}  // namespace coppice
