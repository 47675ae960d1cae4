#include "core/error.h"

#include <fmt/format.h>

namespace coppice {
namespace {

std::string Line(const Problem& p) {
  std::string line = p.where.empty() ? p.what : fmt::format("{}: {}", p.where, p.what);
  if (!p.expected.empty()) line += fmt::format(": expected {}", p.expected);
  if (!p.found.empty()) line += fmt::format("{} found {}", p.expected.empty() ? ":" : ",", p.found);
  if (!p.hint.empty()) line += fmt::format("; {}", p.hint);
  return line;
}

}  // namespace

Error::Error(ExitCode code, const Problem& problem) : code_(code), line_(Line(problem)) {}

void ThrowUsage(const Problem& problem) { throw Error(ExitCode::kUsage, problem); }
void ThrowBadInput(const Problem& problem) { throw Error(ExitCode::kBadInput, problem); }
void ThrowBudget(const Problem& problem) { throw Error(ExitCode::kBudget, problem); }
void ThrowEnvironment(const Problem& problem) { throw Error(ExitCode::kEnvironment, problem); }

void Check(bool condition, std::string_view message) {
  if (!condition) throw InternalError(std::string(message));
}

std::string Printable(std::string_view text, size_t limit) {
  std::string out;
  for (const char c : text.substr(0, limit)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  // Never end inside a UTF-8 sequence.
  while (text.size() > limit && !out.empty() &&
         (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) {
    out.pop_back();
  }
  if (text.size() > limit) {
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
    out += "...";
  }
  return out;
}

}  // namespace coppice
