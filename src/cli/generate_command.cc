#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <string_view>

#include "cli/commands.h"
#include "cli/common.h"
#include "core/error.h"
#include "pipeline/generate.h"

namespace coppice {
namespace {

struct GenerateCommand {
  GenerateOptions generate;
  std::string classes = "all";
  CommonOptions common;
};

// "0-9", "3", "0,4-6": a number, or two with a dash between, and commas between those.
std::vector<int64_t> ParseClasses(std::string_view text) {
  const auto refuse = [&] {
    ThrowUsage({.what = "bad list of classes",
                .where = "--classes",
                .expected = "all, or numbers and ranges such as 0-9 or 1,4-6",
                .found = Printable(text)});
  };
  const auto number = [&](std::string_view digits) {
    constexpr int64_t kMost = 1 << 24;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
    if (error != std::errc() || end != digits.end() || value < 0 || value > kMost) refuse();
    return value;
  };
  std::vector<int64_t> classes;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const size_t dash = part.find('-');
    const int64_t first = number(part.substr(0, dash));
    const int64_t last = dash == part.npos ? first : number(part.substr(dash + 1));
    if (last < first) refuse();
    for (int64_t one = first; one <= last; ++one) classes.push_back(one);
    begin = end + 1;
  }
  return classes;
}

void Run(GenerateCommand command) {
  GenerateOptions& options = command.generate;
  if (command.classes != "all") options.classes = ParseClasses(command.classes);
  options.device = command.common.device;
  options.dtype = command.common.dtype;
  options.threads = command.common.threads;
  const GenerateReport report = Generate(options, Console(command.common.quiet));
  if (command.common.json) {
    PrintJson({{"out", options.out.string()},
               {"images", report.images},
               {"tokens", report.tokens},
               {"seconds", report.seconds},
               {"device", report.device},
               {"dtype", report.dtype}});
  } else {
    fmt::print("{} images ({} tokens, {:.1f} s) in {}\n", report.images, Count(report.tokens),
               report.seconds, options.out.string());
  }
}

}  // namespace

void AddGenerate(CLI::App* app, Action* action) {
  auto command = std::make_shared<GenerateCommand>();
  GenerateOptions& o = command->generate;
  CLI::App* sub = app->add_subcommand(
      "generate", "Draw images from a class-conditional model, as a file of tokens");
  sub->add_option("MODEL", o.model, "folder of a model of image tokens")->required();
  sub->add_option("--out", o.out, "the .safetensors file")->required();
  sub->add_flag("--force", o.replace, "replace a file that is there");
  sub->add_option("--classes", command->classes, "all, or numbers and ranges: 0-9, 1,4-6")
      ->capture_default_str();
  sub->add_option("--per-class", o.per_class, "images of each class")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  AddSamplingOptions(sub, &o.sampling);
  AddSeedOption(sub, "of the random numbers", &o.seed);
  AddCommonOptions(sub, &command->common);
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
