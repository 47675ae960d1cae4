#include "core/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "core/error.h"

extern char** environ;

namespace coppice {
namespace {

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

[[noreturn]] void Fail(const std::string& what, int code) {
  ThrowEnvironment({.what = what, .found = std::strerror(code)});
}

// A file without a name: both sides use it as they like, and no pipe fills up.
File TemporaryFile() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  std::string name = ((error ? "/tmp" : folder) / "coppice-XXXXXX").string();
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) Fail("no temporary file for another program", errno);
  ::unlink(name.c_str());
  File file(::fdopen(descriptor, "w+b"));
  if (file == nullptr) Fail("no temporary file for another program", errno);
  return file;
}

std::string ReadAll(FILE* file) {
  std::rewind(file);
  std::string text;
  std::array<char, 1 << 16> part;
  for (size_t got = 0; (got = std::fread(part.data(), 1, part.size(), file)) > 0;)
    text.append(part.data(), got);
  return text;
}

int ExitCodeOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

ProgramResult RunProgram(const std::vector<std::string>& arguments, std::string_view input) {
  Check(!arguments.empty(), "RunProgram: no program");
  const std::array<File, 3> files = {TemporaryFile(), TemporaryFile(), TemporaryFile()};
  if (std::fwrite(input.data(), 1, input.size(), files[0].get()) != input.size() ||
      std::fflush(files[0].get()) != 0)
    Fail("the input of another program could not be written", errno);
  std::rewind(files[0].get());

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int i = 0; i < 3; ++i)
    posix_spawn_file_actions_adddup2(&actions, fileno(files[static_cast<size_t>(i)].get()), i);
  std::vector<std::string> copies = arguments;  // posix_spawn wants them writable
  std::vector<char*> argv;
  argv.reserve(copies.size() + 1);
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  const int problem = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem == ENOENT || problem == EACCES || problem == ENOEXEC)
    return {.code = 127, .output = {}, .errors = {}};
  if (problem != 0) Fail("another program could not be started", problem);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) Fail("another program could not be waited for", errno);
  }
  return {.code = ExitCodeOf(status),
          .output = ReadAll(files[1].get()),
          .errors = ReadAll(files[2].get())};
}

std::string LastLine(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return {};
  const size_t before = text.find_last_of('\n', end);
  return text.substr(before == std::string::npos ? 0 : before + 1, end - before);
}

std::string PythonProgram() {
  const char* const named = std::getenv("COPPICE_PYTHON");
  return named != nullptr && *named != '\0' ? named : "python3";
}

}  // namespace coppice
