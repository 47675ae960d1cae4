#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "data/json_line.h"
#include "data/python_text.h"

namespace coppice {
namespace {

enum class Form { kLines, kText };

Form FormOf(const std::filesystem::path& file) {
  const auto name = file.extension() == ".gz" ? file.stem() : file.filename();
  if (name.extension() == ".jsonl") return Form::kLines;
  if (name.extension() == ".txt") return Form::kText;
  ThrowBadInput({.what = "unknown kind of data file",
                 .where = file.string(),
                 .expected = "a name that ends in .jsonl, .txt, .jsonl.gz or .txt.gz"});
}

std::string_view WithoutByteOrderMark(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return text;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

void CheckUtf8(std::string_view text, const std::filesystem::path& file) {
  const auto invalid = FirstInvalidByte(text);
  if (!invalid) return;
  const std::string_view before = text.substr(0, *invalid);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  ThrowBadInput({.what = "not UTF-8",
                 .where = fmt::format("{}:{}", file.string(), line),
                 .found = fmt::format("byte 0x{:02x}", static_cast<unsigned char>(text[*invalid])),
                 .hint = "save the file as UTF-8"});
}

void CheckSameKind(const Example& first, const Example& example,
                   const std::filesystem::path& file) {
  if (first.is_question == example.is_question) return;
  const auto kind = [](const Example& e) { return e.is_question ? "a question" : "a text"; };
  ThrowBadInput({.what = "questions and texts in one file",
                 .where = fmt::format("{}:{}", file.string(), example.line),
                 .expected = fmt::format("{} as in line {}", kind(first), first.line),
                 .found = kind(example)});
}

std::vector<Example> ReadLines(std::string_view text, const std::filesystem::path& file,
                               int64_t limit) {
  std::vector<Example> examples;
  int64_t number = 0;
  while (!text.empty() && (limit <= 0 || std::ssize(examples) < limit)) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (IsBlank(line)) continue;
    examples.push_back(ReadJsonLine(line, file, number));
    CheckSameKind(examples.front(), examples.back(), file);
  }
  return examples;
}

// The text with line ends as "\n", so that a file means the same whichever system it was saved on.
std::string WithUnixLineEnds(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) != "\r\n") out += text[i];
  }
  return out;
}

}  // namespace

Dataset ReadDataset(const std::filesystem::path& file, int64_t limit) {
  const Form form = FormOf(file);
  const std::string bytes = ReadText(file);
  const std::string_view text = WithoutByteOrderMark(bytes);
  if (IsBlank(text))
    ThrowBadInput({.what = "no examples", .where = file.string(), .found = "an empty file"});
  CheckUtf8(text, file);
  Dataset dataset{.file = file, .examples = {}};
  if (form == Form::kLines) {
    dataset.examples = ReadLines(text, file, limit);
  } else {
    dataset.examples.push_back({.text = WithUnixLineEnds(text), .line = 1});
  }
  return dataset;
}

}  // namespace coppice
