// Other programs, run to their end. Only for helpers that may be absent: nothing that coppice must
// do depends on one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace coppice {

struct ProgramResult {
  int code = 0;  // its exit code; 127 where there is no such program, 128 + n for signal n
  std::string output;
  std::string errors;  // what it wrote to stderr
};

// Runs `arguments` (the first is looked up in PATH; no shell) with `input` on stdin and waits.
// Throws Error (kEnvironment) where there is no room for a temporary file or another process.
ProgramResult RunProgram(const std::vector<std::string>& arguments, std::string_view input);

// The last line of what a program wrote that is not empty: most say there what went wrong.
std::string LastLine(const std::string& text);

// The Python for optional helpers: the environment's COPPICE_PYTHON, or python3.
std::string PythonProgram();

}  // namespace coppice
