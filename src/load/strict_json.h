// JSON from a file nobody vouches for. The library alone keeps the last of two equal keys without a
// word; here duplicates, deep nesting and floods of tiny values are refused, each with its own
// message.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace coppice {

struct JsonLimits {
  size_t depth = 64;        // objects and arrays inside one another
  size_t values = 4000000;  // objects, arrays, strings, numbers, ...; bounds the memory used
};

// Parses `text`, which must be one JSON object in UTF-8. `where` names the file, `what` the part of
// it ("header") in messages. Throws Error (kBadInput). Instantiated for nlohmann::json (keys
// sorted) and nlohmann::ordered_json (keys in file order; quadratic in the keys of one object, so
// give a low limit).
template <typename Json>
Json ParseStrictJson(std::string_view text, const std::filesystem::path& where,
                     std::string_view what, const JsonLimits& limits = {});

}  // namespace coppice
