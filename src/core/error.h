// Failures of two kinds. Bad input, a bad environment or a budget that cannot be met throws one
// Error, which main() prints as one line and turns into an exit code. Our own bugs go through
// Check(), which throws InternalError (exit code 70): they are never caught on the way.
//
// An Error answers five questions: what went wrong, where (file, tensor, line), what was expected,
// what was found, and what to do. Empty answers are left out of the line.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace coppice {

// The program's exit codes.
enum class ExitCode {
  kOk = 0,
  kUsage = 2,        // unknown option, missing argument, options that exclude each other
  kBadInput = 3,     // a model or data file that cannot be used
  kBudget = 4,       // the budget cannot be met
  kEnvironment = 5,  // disk full, no such device, out of memory
  kInternal = 70,    // a bug of ours
};

// The answers an Error carries; designated initialisers name them at the call site.
struct Problem {
  std::string what;
  std::string where = {};
  std::string expected = {};
  std::string found = {};
  std::string hint = {};
};

// Thrown for everything a user can cause or mend. what() is the whole line, without "error: ".
class Error : public std::exception {
 public:
  Error(ExitCode code, const Problem& problem);
  const char* what() const noexcept override { return line_.c_str(); }
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
  std::string line_;
};

// Thrown by Check(): a broken invariant of our own.
class InternalError : public std::exception {
 public:
  explicit InternalError(std::string line) : line_(std::move(line)) {}
  const char* what() const noexcept override { return line_.c_str(); }

 private:
  std::string line_;
};

[[noreturn]] void ThrowUsage(const Problem& problem);
[[noreturn]] void ThrowBadInput(const Problem& problem);
[[noreturn]] void ThrowBudget(const Problem& problem);
[[noreturn]] void ThrowEnvironment(const Problem& problem);

// Aborts the run with InternalError when `condition` is false. For our own invariants, never for
// input.
void Check(bool condition, std::string_view message);

// Text from a file, made safe for a one-line message: control characters become spaces, long text
// is cut.
std::string Printable(std::string_view text, size_t limit = 80);

}  // namespace coppice
