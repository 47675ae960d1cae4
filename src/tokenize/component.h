// What the components of a tokenizer.json have in common: any of them may be a Sequence of others.
#pragma once

#include <string>
#include <vector>

#include "tokenize/json_node.h"

namespace coppice {

// The component itself, or those of a Sequence, which it lists under `list_name`.
std::vector<JsonNode> ReadComponents(const JsonNode& node, const std::string& list_name);

// Their types for an error: "NFC", "Sequence of NFD, Lowercase", "Sequence of nothing".
std::string DescribeComponents(const std::vector<JsonNode>& components);

// A pattern {"String": TEXT}, not empty. A regular expression is refused.
std::string ReadPlainPattern(const JsonNode& node);

}  // namespace coppice
