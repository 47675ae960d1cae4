// Examples from a user's data file: .jsonl (one object a line) or .txt (language-model text, taken
// whole), either one gzipped (.gz).
//
// Only the format is checked here; what a task needs of an example (a label, a context) is checked
// where the task is known (calibrate/samples.h). Every error names the file and the line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

// One line of a data file. Which fields are set depends on the line's keys (DESIGN: data files).
struct Example {
  std::string text = {};                      // "text", or "question" for question answering
  std::optional<std::string> text_pair = {};  // "text_pair", or "context" for question answering
  std::optional<double> label = {};           // "label": class number or regression value
  std::string id = {};                        // question answering: "id"
  std::vector<std::string> answers = {};  // question answering: "answers.text"; empty: no answer
  // "answers.answer_start", in CODE POINTS of the context, as SQuAD counts
  std::vector<int64_t> answer_starts = {};
  bool is_question = false;  // the line had "question" and "context"
  int64_t line = 0;          // 1-based line in the file
};

struct Dataset {
  std::filesystem::path file = {};
  std::vector<Example> examples = {};
};

// Reads a whole file; blank lines, a UTF-8 byte order mark and Windows line ends are passed over.
// `limit` > 0 keeps the first `limit` examples. Throws Error (kBadInput) for a file that is
// missing, empty, not UTF-8, or has a line that is malformed (file:line, what was expected).
Dataset ReadDataset(const std::filesystem::path& file, int64_t limit = 0);

// Bytes of text that ReadText() takes at most; a small .gz file can hold far more than memory.
inline constexpr uint64_t kTextLimit = uint64_t{8} << 30;

// The raw bytes of a file, gunzipped when its name ends in .gz. Throws Error (kBadInput /
// kEnvironment).
std::string ReadText(const std::filesystem::path& file, uint64_t limit = kTextLimit);

}  // namespace coppice
