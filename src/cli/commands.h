// The subcommands. Each has a setup function that binds options to a struct and a run function that
// takes the struct; main() only parses and catches. stdout carries the result alone.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace coppice {

// Adds a subcommand to `app`; its callback stores the work to do in `*action`, run after parsing.
using Action = std::function<void()>;

void AddInspect(CLI::App* app, Action* action);
void AddEval(CLI::App* app, Action* action);
void AddPrune(CLI::App* app, Action* action);
void AddBench(CLI::App* app, Action* action);
void AddCompare(CLI::App* app, Action* action);
void AddExport(CLI::App* app, Action* action);
void AddGenerate(CLI::App* app, Action* action);

}  // namespace coppice
