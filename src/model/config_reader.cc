#include "model/config_reader.h"

#include <fmt/format.h>

#include <algorithm>

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

std::vector<int64_t> ConfigReader::Widths(const std::string& name, int64_t layers,
                                          int64_t dense) const {
  const auto block = json_.find("coppice");
  if (block == json_.end() || !block->is_object() || !block->contains(name))
    return std::vector<int64_t>(static_cast<size_t>(layers), dense);
  std::vector<int64_t> widths = Sizes(name, layers, dense);
  for (const int64_t width : widths) {
    if (width == 0) FailBlock(name, "1", layers, dense, "0");
  }
  return widths;
}

std::vector<std::vector<int64_t>> ConfigReader::Pairs(int64_t layers, int64_t dense) const {
  std::vector<std::vector<int64_t>> pairs(static_cast<size_t>(layers));
  const auto block = json_.find("coppice");
  if (block == json_.end() || !block->is_object() || !block->contains("pairs")) return pairs;
  const Json& lists = (*block)["pairs"];
  bool good = lists.is_array() && lists.size() == pairs.size();
  for (size_t i = 0; good && i < pairs.size(); ++i) {
    good = lists[i].is_array();
    for (size_t k = 0; good && k < lists[i].size(); ++k) {
      const Json& pair = lists[i][k];
      good = pair.is_number_integer() && pair >= 0 && pair < dense &&
             std::find(pairs[i].begin(), pairs[i].end(), pair.get<int64_t>()) == pairs[i].end();
      if (good) pairs[i].push_back(pair.get<int64_t>());
    }
  }
  if (!good) {
    ThrowBadInput(
        {.what = "\"coppice.pairs\" is not what turns in a pruned model",
         .where = where_,
         .expected = fmt::format("{} lists of different integers from 0 to {}", layers, dense - 1),
         .found = Printable(lists.dump())});
  }
  return pairs;
}

void ConfigReader::FailBlock(const std::string& name, const std::string& least, int64_t layers,
                             int64_t most, const std::string& found) const {
  ThrowBadInput(
      {.what = fmt::format("\"coppice.{}\" is not the list of sizes of a pruned model", name),
       .where = where_,
       .expected = fmt::format("{} integers from {} to {}", layers, least, most),
       .found = found});
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
  if (!good) FailBlock(name, "0", layers, dense, Printable(list.dump()));
  return sizes;
}

}  // namespace coppice
