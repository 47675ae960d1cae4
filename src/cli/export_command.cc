#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "pipeline/export.h"

namespace coppice {
namespace {

struct ExportCommand {
  ExportOptions options;
  bool json = false;
  bool quiet = false;
};

void Run(const ExportCommand& command) {
  const ExportReport report = Export(command.options, Console(command.quiet));
  if (command.json) {
    return PrintJson({{"out", report.out.string()},
                      {"forms", ProofsJson(report.forms)},
                      {"bytes", report.bytes},
                      {"seconds", report.seconds}});
  }
  fmt::print("{}size         {}\nseconds      {:.1f}\nwritten to   {}\n", ProofLines(report.forms),
             Bytes(report.bytes), report.seconds, report.out.string());
}

}  // namespace

void AddExport(CLI::App* app, Action* action) {
  auto command = std::make_shared<ExportCommand>();
  ExportOptions& o = command->options;
  CLI::App* sub = app->add_subcommand("export", "Write a model in another form, and check it");
  sub->add_option("MODEL", o.model, "Hugging Face folder or GGUF file")->required();
  sub->add_option("--to", o.forms, "forms to write: hf, gguf, onnx")->required()->delimiter(',');
  sub->add_option("--out", o.out, "folder for them")->required();
  sub->add_flag("--force", o.replace, "replace an output folder that is in use");
  sub->add_flag("--plain", o.plain, "ONNX of standard operators, without com.microsoft's");
  sub->add_option("--gguf-type", o.gguf_type, "of a GGUF file's matrices: f16, f32, bf16 or q8_0")
      ->capture_default_str();
  sub->add_option("--vocabulary", o.vocabulary,
                  "GGUF file to take the vocabulary and chat template from (default: the model's)");
  sub->add_option("--threads", o.threads, "processor threads; 0: all")->check(CLI::Range(0, 4096));
  sub->add_flag("--json", command->json, "machine-readable result on stdout");
  sub->add_flag("--quiet", command->quiet, "no progress");
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
