// JSON written of values that came from outside.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace coppice {

// A string in it, as a path, need not be UTF-8, which dump() alone throws of: what is not gets a
// replacement character. indent: spaces a level; -1: all in one line.
template <typename Json>
std::string JsonText(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace coppice
