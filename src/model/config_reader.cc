#include "model/config_reader.h"

#include <fmt/format.h>

#include "core/error.h"

namespace coppice {

using Json = nlohmann::ordered_json;

template <typename Predicate>
const Json* ConfigReader::Find(const std::string& key, Predicate good,
                               const std::string& expected) const {
  const auto found = json_.find(key);
  if (found == json_.end() || found->is_null()) return nullptr;
  if (!good(*found)) {
    ThrowBadInput({.what = fmt::format("bad \"{}\"", key),
                   .where = where_,
                   .expected = expected,
                   .found = Printable(found->dump())});
  }
  return &*found;
}

void ConfigReader::Fail(const std::string& key, int64_t low, int64_t high,
                        const std::string& found) const {
  ThrowBadInput({.what = fmt::format("bad \"{}\"", key),
                 .where = where_,
                 .expected = fmt::format("an integer from {} to {}", low, high),
                 .found = found});
}

int64_t ConfigReader::Integer(const std::string& key, int64_t low, int64_t high) const {
  const auto found = json_.find(key);
  if (found == json_.end()) Fail(key, low, high, "nothing");
  if (!found->is_number_integer()) Fail(key, low, high, Printable(found->dump()));
  const int64_t value = found->get<int64_t>();
  if (value < low || value > high) Fail(key, low, high, fmt::to_string(value));
  return value;
}

int64_t ConfigReader::IntegerOr(const std::string& key, int64_t fallback, int64_t low,
                                int64_t high) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? fallback : Integer(key, low, high);
}

std::string ConfigReader::TextOr(const std::string& key, const std::string& fallback) const {
  const Json* value = Find(
      key, [](const Json& v) { return v.is_string(); }, "a string");
  return value == nullptr ? fallback : value->get<std::string>();
}

double ConfigReader::NumberOr(const std::string& key, double fallback) const {
  const Json* value = Find(
      key, [](const Json& v) { return v.is_number(); }, "a number");
  return value == nullptr ? fallback : value->get<double>();
}

bool ConfigReader::BooleanOr(const std::string& key, bool fallback) const {
  const Json* value = Find(
      key, [](const Json& v) { return v.is_boolean(); }, "true or false");
  return value == nullptr ? fallback : value->get<bool>();
}

const Json* ConfigReader::Object(const std::string& key) const {
  return Find(
      key, [](const Json& v) { return v.is_object(); }, "an object");
}

std::vector<int64_t> ConfigReader::Sizes(const std::string& name, int64_t layers,
                                         int64_t dense) const {
  std::vector<int64_t> sizes(static_cast<size_t>(layers), dense);
  const auto block = json_.find("coppice");
  if (block == json_.end()) return sizes;
  const Json list = block->is_object() && block->contains(name) ? (*block)[name] : Json();
  bool good = list.is_array() && list.size() == sizes.size();
  for (size_t i = 0; good && i < sizes.size(); ++i) {
    good = list[i].is_number_integer() && list[i] >= 0 && list[i] <= dense;
    if (good) sizes[i] = list[i].get<int64_t>();
  }
  if (!good) {
    ThrowBadInput(
        {.what = fmt::format("\"coppice.{}\" is not the list of sizes of a pruned model", name),
         .where = where_,
         .expected = fmt::format("{} integers from 0 to {}", layers, dense),
         .found = Printable(list.dump())});
  }
  return sizes;
}

}  // namespace coppice
