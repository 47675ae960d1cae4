#include "tokenize/json_node.h"

#include <fmt/format.h>

namespace coppice {

std::optional<JsonNode> JsonNode::Find(const std::string& key) const {
  if (!value_->is_object()) FailType("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonNode(*found, file_, path_.empty() ? key : path_ + "." + key);
}

JsonNode JsonNode::Get(const std::string& key) const {
  std::optional<JsonNode> member = Find(key);
  if (!member) Fail({.what = fmt::format("\"{}\" is missing", key)});
  return *std::move(member);
}

std::vector<JsonNode> JsonNode::Elements() const {
  if (!value_->is_array()) FailType("an array");
  std::vector<JsonNode> elements;
  elements.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    elements.emplace_back((*value_)[i], file_, fmt::format("{}[{}]", path_, i));
  }
  return elements;
}

const std::string& JsonNode::String() const {
  if (!value_->is_string()) FailType("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonNode::Bool() const {
  if (!value_->is_boolean()) FailType("true or false");
  return value_->get<bool>();
}

int32_t JsonNode::Number(int32_t limit) const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() >= static_cast<uint64_t>(limit)) {
    FailType(fmt::format("a whole number from 0 to {}", limit - 1));
  }
  return value_->get<int32_t>();
}

void JsonNode::Fail(Problem problem) const {
  problem.where =
      path_.empty() ? std::string(file_) : fmt::format("{}, {}", file_, Printable(path_));
  ThrowBadInput(problem);
}

void JsonNode::Refuse(std::string_view component, std::string_view expected) const {
  Fail({.what = fmt::format("\"{}\" is not supported", Printable(component)),
        .expected = std::string(expected)});
}

void JsonNode::FailType(std::string_view expected) const {
  const bool small = value_->is_number() || value_->is_boolean();
  Fail({.what = "wrong value",
        .expected = std::string(expected),
        .found = small ? value_->dump() : fmt::format("{}", value_->type_name())});
}

}  // namespace coppice
