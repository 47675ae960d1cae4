#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "pipeline/bench.h"

namespace coppice {
namespace {

struct BenchCommand {
  BenchOptions bench;
  CommonOptions common;
};

void Run(BenchCommand command) {
  command.bench.device = command.common.device;
  command.bench.dtype = command.common.dtype;
  command.bench.threads = command.common.threads;
  const BenchReport report = Bench(command.bench, Console(command.common.quiet));
  if (command.common.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const BenchRow& row : report.rows) {
      rows.push_back({{"model", row.model},
                      {"runtime", row.runtime},
                      {"stage", row.stage},
                      {"batch", row.batch},
                      {"length", row.length},
                      {"repeats", row.repeats},
                      {"median_ms", row.median_ms},
                      {"low_ms", row.low_ms},
                      {"high_ms", row.high_ms},
                      {"tokens_per_second", row.tokens_per_second},
                      {"speedup", row.speedup}});
    }
    return PrintJson({{"device", report.device},
                      {"dtype", report.dtype},
                      {"threads", report.threads},
                      {"rows", rows}});
  }
  fmt::print("{} {}, {} threads; medians, with 10th and 90th percentile\n", report.device,
             report.dtype, report.threads);
  for (const BenchRow& row : report.rows) {
    fmt::print(
        "{:<7} batch {:>3} x {:<4} {:>9.2f} ms  [{:.2f}, {:.2f}]  {:>8.0f} tokens/s  {:.2f}x  {}  "
        "({})\n",
        row.stage, row.batch, row.length, row.median_ms, row.low_ms, row.high_ms,
        row.tokens_per_second, row.speedup, row.model, row.runtime);
  }
}

}  // namespace

void AddBench(CLI::App* app, Action* action) {
  auto command = std::make_shared<BenchCommand>();
  BenchOptions& o = command->bench;
  CLI::App* sub =
      app->add_subcommand("bench", "Measure models side by side; the first is the baseline");
  sub->add_option("MODEL", o.models, "folders, GGUF files, or ONNX files, which run in onnxruntime")
      ->required();
  sub->add_option("--batch", o.batches, "batch sizes")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--length", o.lengths, "tokens an example")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--repeats", o.repeats, "runs of each model at most")
      ->check(CLI::Range(3, 100000))
      ->capture_default_str();
  sub->add_option("--seconds", o.seconds, "time for one batch size and length")
      ->check(CLI::Range(0.1, 1e5))
      ->capture_default_str();
  AddCommonOptions(sub, &command->common);
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
