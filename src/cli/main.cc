// argv to one subcommand's options; catches Error once; exit codes.
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <system_error>

#include "cli/commands.h"
#include "core/console.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/machine_memory.h"
#include "core/version.h"

namespace coppice {
namespace {

int Fail(ExitCode code, const std::string& line) {
  Say(fmt::format("error: {}\n", line));
  return static_cast<int>(code);
}

// A closed standard stream's number would be taken by the next file that is opened. Nothing can be
// written to what takes stdout's place, so that a lost result is noticed.
void OpenStandardStreams() {
  for (int stream = 0; stream <= 2; ++stream) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    const int opened = ::open("/dev/null", stream == 2 ? O_WRONLY : O_RDONLY);
    if (opened >= 0 && opened != stream) ::close(opened);
  }
}

int RunAction(const Action& action) {
  try {
    action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      return Fail(ExitCode::kEnvironment, "the result could not be written to stdout");
    return static_cast<int>(ExitCode::kOk);
  } catch (const Error& error) {
    return Fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return Fail(ExitCode::kEnvironment, "out of memory; use fewer --samples or a shorter --length");
  } catch (const c10::OutOfMemoryError& error) {
    return Fail(ExitCode::kEnvironment,
                "out of device memory; use fewer --samples, a shorter --length or --device cpu");
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
    if (says("can't allocate memory") || says("not enough memory") || says("out of memory") ||
        says("ALLOC_FAILED")) {
      return Fail(ExitCode::kEnvironment,
                  "out of memory; use fewer --samples or a shorter --length");
    }
    return Fail(ExitCode::kInternal, Printable(text, 400) + "; this is a bug of coppice");
  } catch (const std::system_error& error) {  // a folder that is not there, no more threads
    return Fail(ExitCode::kEnvironment, Printable(error.what(), 400));
  } catch (const std::exception& error) {
    return Fail(ExitCode::kInternal, Printable(error.what(), 400) + "; this is a bug of coppice");
  }
}

int Main(int argc, char** argv) {
  CLI::App app{"coppice makes a trained Transformer smaller and faster without training it again."};
  app.set_version_flag("--version", std::string("coppice ") + kVersion);
  app.require_subcommand(1);
  Action action;
  AddInspect(&app, &action);
  AddEval(&app, &action);
  AddPrune(&app, &action);
  AddBench(&app, &action);
  AddCompare(&app, &action);
  AddExport(&app, &action);
  AddGenerate(&app, &action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    return Fail(ExitCode::kUsage, Printable(error.what(), 300) + "; see coppice --help");
  }
  return RunAction(action);
}

}  // namespace
}  // namespace coppice

int main(int argc, char** argv) {
  coppice::OpenStandardStreams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may grow no further is an error like a full disk
  coppice::RemoveTemporariesOnInterrupt();
  coppice::KeepSmallBlocks();
  return coppice::Main(argc, argv);
}
