#include "load/strict_json.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

// The bytes of the UTF-8 sequence at the start of `text` (not empty), or 0 when it is not one:
// stray or missing continuation bytes, overlong forms, surrogates, beyond U+10FFFF (Unicode 15,
// table 3-7).
size_t Utf8Length(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first < 0xC2   ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool outside = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
  return overlong || outside ? 0 : length;
}

// What the library calls while it reads; every refusal throws. One set of keys for each open
// object, an empty one for each open array. The method names are the library's.
class Watcher : public nlohmann::json_sax<nlohmann::json> {
 public:
  Watcher(std::string where, std::string_view what, const JsonLimits& limits)
      : where_(std::move(where)), what_(what), limits_(limits) {}

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t&) override { return Value(); }
  bool binary(binary_t&) override { return Value(); }
  bool start_object(size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override { return Close(); }

  bool key(string_t& key) override {
    Level& level = open_.back();
    if (!level.keys.insert(key).second) {
      const std::string inside =
          open_.size() < 2 ? ""
                           : fmt::format(" inside \"{}\"", Printable(open_[open_.size() - 2].last));
      Fail("holds a key twice", "every key once",
           fmt::format("\"{}\" again{}", Printable(key), inside));
    }
    level.last = key;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    std::string reason = error.what();
    const size_t tag = reason.find("] ");  // "[json.exception.parse_error.101] "
    if (tag != std::string::npos) reason.erase(0, tag + 2);
    ThrowBadInput(
        {.what = fmt::format("the {} is not valid JSON: {}", what_, Printable(reason, 200)),
         .where = where_});
  }

 private:
  struct Level {
    std::unordered_set<std::string> keys;
    std::string last;
  };

  bool Value() {
    if (++values_ > limits_.values) {
      Fail("is too large", fmt::format("at most {} JSON values", limits_.values), "more");
    }
    return true;
  }
  bool Open() {
    if (open_.size() == limits_.depth) {
      Fail("is nested too deeply", fmt::format("at most {} levels", limits_.depth), "more");
    }
    open_.emplace_back();
    return Value();
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  [[noreturn]] void Fail(std::string_view problem, std::string expected, std::string found) const {
    ThrowBadInput({.what = fmt::format("the {} {}", what_, problem),
                   .where = where_,
                   .expected = std::move(expected),
                   .found = std::move(found)});
  }

  std::string where_;
  std::string_view what_;
  JsonLimits limits_;
  std::vector<Level> open_;
  size_t values_ = 0;
};

}  // namespace

template <typename Json>
Json ParseStrictJson(std::string_view text, const std::filesystem::path& file,
                     std::string_view what, const JsonLimits& limits) {
  const std::string where = Printable(file.string(), 500);
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text.substr(at));
    if (length == 0) {
      ThrowBadInput({.what = fmt::format("the {} is not valid UTF-8", what),
                     .where = where,
                     .found = fmt::format("byte 0x{:02x} at position {}",
                                          static_cast<unsigned char>(text[at]), at)});
    }
    at += length;
  }
  // Two passes: the one-pass way, a callback of parse(), searches the parent again after every
  // object.
  Watcher watcher(where, what, limits);
  nlohmann::json::sax_parse(text, &watcher);
  Json parsed = Json::parse(text);
  if (!parsed.is_object()) {
    ThrowBadInput({.what = fmt::format("the {} is not a JSON object", what),
                   .where = where,
                   .expected = "{...}",
                   .found = parsed.type_name()});
  }
  return parsed;
}

template nlohmann::json ParseStrictJson(std::string_view, const std::filesystem::path&,
                                        std::string_view, const JsonLimits&);
template nlohmann::ordered_json ParseStrictJson(std::string_view, const std::filesystem::path&,
                                                std::string_view, const JsonLimits&);

}  // namespace coppice
