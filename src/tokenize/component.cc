#include "tokenize/component.h"

#include <fmt/format.h>

namespace coppice {

std::vector<JsonNode> ReadComponents(const JsonNode& node, const std::string& list_name) {
  return node.Type() == "Sequence" ? node.Get(list_name).Elements() : std::vector{node};
}

std::string DescribeComponents(const std::vector<JsonNode>& components) {
  if (components.size() == 1) return components[0].Type();
  std::string types;
  for (const JsonNode& component : components) {
    types += (types.empty() ? "" : ", ") + component.Type();
  }
  return fmt::format("Sequence of {}", types.empty() ? "nothing" : types);
}

std::string ReadPlainPattern(const JsonNode& node) {
  if (const auto regex = node.Find("Regex")) regex->Refuse(regex->String(), "a plain string");
  const JsonNode text = node.Get("String");
  if (text.String().empty()) text.Fail({.what = "the pattern is empty"});
  return text.String();
}

}  // namespace coppice
