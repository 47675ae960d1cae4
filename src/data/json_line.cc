#include "data/json_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json_text.h"
#include "data/python_text.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr const char* kKeysOfALine =
    R"(a line holds "text" (and "text_pair", "label"), or "question", "context" and "answers")";

// The library's message without its own name and without the line, which is always 1 here.
std::string Reason(const json::exception& error) {
  const std::string_view message = error.what();
  const size_t prefix = message.find("] ");
  const size_t column = message.find("column ");
  const size_t from = column != message.npos ? column : prefix != message.npos ? prefix + 2 : 0;
  return Printable(message.substr(from), 120);
}

class LineReader {
 public:
  LineReader(std::string_view line, const std::filesystem::path& file, int64_t number)
      : file_(file), number_(number) {
    try {
      object_ = json::parse(line);
    } catch (const json::exception& error) {
      Fail({.what = "malformed JSON", .expected = "one object a line", .found = Reason(error)});
    }
    if (!object_.is_object()) {
      Fail({.what = "not an object", .expected = "one JSON object a line", .found = Show(object_)});
    }
  }

  Example Read() {
    Example example{.line = number_};
    example.is_question = Find("question") != nullptr && Find("context") != nullptr;
    if (example.is_question) {
      example.text = TakeString("question");
      example.text_pair = TakeString("context");
      if (Find("id") != nullptr) example.id = TakeString("id");
      ReadAnswers(example);
    } else {
      if (Find("text") == nullptr) FailMissing();
      example.text = TakeString("text");
      if (Find("text_pair") != nullptr) example.text_pair = TakeString("text_pair");
      example.label = ReadLabel();
    }
    return example;
  }

 private:
  [[noreturn]] void Fail(Problem problem) const {
    problem.where = fmt::format("{}:{}", file_.string(), number_);
    ThrowBadInput(problem);
  }

  [[noreturn]] void FailMissing() const {
    const char* missing = Find("question") != nullptr  ? "context"
                          : Find("context") != nullptr ? "question"
                                                       : "text";
    Fail({.what = fmt::format("the key \"{}\" is missing", missing), .hint = kKeysOfALine});
  }

  [[noreturn]] void FailType(const std::string& key, const char* expected,
                             const json& found) const {
    Fail({.what = fmt::format("the value of \"{}\" has the wrong type", key),
          .expected = expected,
          .found = Show(found)});
  }

  // Lists and objects by their type alone: they may be long, or nested deeper than dump() can go.
  static std::string Show(const json& value) {
    if (value.is_structured()) return value.type_name();
    return fmt::format("{} {}", value.type_name(), Printable(JsonText(value), 40));
  }

  // nullptr when the key is absent or null.
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string TakeString(const char* key) {
    json& value = object_[key];
    if (!value.is_string()) FailType(key, "a string", value);
    return std::move(value.get_ref<std::string&>());
  }

  std::optional<double> ReadLabel() const {
    const json* value = Find("label");
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) FailType("label", "a number", *value);
    return value->get<double>();
  }

  void ReadAnswers(Example& example) {
    const json* answers = Find("answers");
    if (answers == nullptr) {
      Fail({.what = "the key \"answers\" is missing",
            .hint = R"(for a question without answer give {"text": [], "answer_start": []})"});
    }
    if (!answers->is_object()) FailType("answers", "an object", *answers);
    const json& texts = ListOf(*answers, "text");
    const json& starts = ListOf(*answers, "answer_start");
    if (texts.size() != starts.size()) {
      Fail({.what = "the lists of \"answers\" differ in length",
            .expected = "one answer_start a text",
            .found = fmt::format("{} and {}", starts.size(), texts.size())});
    }
    const size_t context_length = CountCodePoints(*example.text_pair);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!texts[i].is_string()) FailType("answers.text", "strings", texts[i]);
      example.answers.push_back(texts[i].get<std::string>());
      const size_t length = CountCodePoints(example.answers.back());
      example.answer_starts.push_back(ReadStart(starts[i], length, context_length));
    }
  }

  const json& ListOf(const json& answers, const char* key) const {
    const auto found = answers.find(key);
    const std::string full_key = fmt::format("answers.{}", key);
    if (found == answers.end()) Fail({.what = fmt::format("the key \"{}\" is missing", full_key)});
    if (!found->is_array()) FailType(full_key, "a list", *found);
    return *found;
  }

  // A start, checked to leave room for an answer of `length` in a context of `context_length` code
  // points.
  int64_t ReadStart(const json& value, size_t length, size_t context_length) const {
    if (!value.is_number_integer()) FailType("answers.answer_start", "integers", value);
    // Unsigned values above the signed range would wrap to negative ones, which are refused as
    // well.
    const auto start = value.get<int64_t>();
    if (start < 0 || length > context_length ||
        start > static_cast<int64_t>(context_length - length)) {
      Fail({.what = "an answer lies outside the context",
            .expected = fmt::format("{} code points within {}", length, context_length),
            .found = fmt::format("answer_start {}", start),
            .hint = "starts count code points, from 0"});
    }
    return start;
  }

  const std::filesystem::path& file_;
  int64_t number_;
  json object_;
};

}  // namespace

Example ReadJsonLine(std::string_view line, const std::filesystem::path& file, int64_t number) {
  return LineReader(line, file, number).Read();
}

}  // namespace coppice
