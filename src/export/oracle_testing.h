// For tests that run other people's programs.
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

namespace coppice {

// What a command prints; nothing when it prints nothing.
inline std::optional<std::string> RunCommand(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  if (pipe == nullptr) return std::nullopt;
  std::string output;
  char part[4096];
  for (size_t got = 0; (got = std::fread(part, 1, sizeof(part), pipe.get())) > 0;)
    output.append(part, got);
  if (output.empty()) return std::nullopt;
  return output;
}

}  // namespace coppice
