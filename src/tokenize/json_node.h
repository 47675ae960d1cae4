// A value of a JSON file that nobody vouches for, together with the way to it. Every accessor
// checks the type; a failure is an Error (kBadInput) that names the file and the path, such as
// "tokenizer.json, model.unk_token". The parsed document and the file's name must outlive the node.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace coppice {

class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string_view file, std::string path)
      : value_(&value), file_(file), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  bool IsString() const { return value_->is_string(); }
  bool IsArray() const { return value_->is_array(); }

  // A member of an object; Find() gives nothing when it is absent or null, Get() throws when
  // absent.
  std::optional<JsonNode> Find(const std::string& key) const;
  JsonNode Get(const std::string& key) const;
  // The elements of an array.
  std::vector<JsonNode> Elements() const;

  const std::string& String() const;
  bool Bool() const;
  // A whole number in [0, limit).
  int32_t Number(int32_t limit) const;

  // The member "type" of a component, such as "BertNormalizer".
  const std::string& Type() const { return Get("type").String(); }

  [[noreturn]] void Fail(Problem problem) const;
  // Refuses a component by its name.
  [[noreturn]] void Refuse(std::string_view component, std::string_view expected) const;

 private:
  [[noreturn]] void FailType(std::string_view expected) const;

  const nlohmann::json* value_;
  std::string_view file_;
  std::string path_;
};

}  // namespace coppice
