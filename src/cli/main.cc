// argv to one subcommand's options; catches Error once; exit codes.
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <new>

#include "cli/commands.h"
#include "core/error.h"
#include "core/machine_memory.h"
#include "core/version.h"

namespace coppice {
namespace {

int Fail(ExitCode code, const std::string& line) {
  fmt::print(stderr, "error: {}\n", line);
  return static_cast<int>(code);
}

int RunAction(const Action& action) {
  try {
    action();
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
    if (text.find("can't allocate memory") != std::string::npos ||
        text.find("not enough memory") != std::string::npos) {
      return Fail(ExitCode::kEnvironment,
                  "out of memory; use fewer --samples or a shorter --length");
    }
    return Fail(ExitCode::kInternal, Printable(text, 400) + "; this is a bug of coppice");
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
  coppice::KeepSmallBlocks();
  return coppice::Main(argc, argv);
}
