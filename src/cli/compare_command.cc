#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "pipeline/measure.h"

namespace coppice {
namespace {

struct CompareCommand {
  MeasureOptions measure;
  std::string reference, other;
  CommonOptions common;
};

nlohmann::ordered_json MetricJson(const Measurement& m) {
  if (!m.metric) return nullptr;
  nlohmann::ordered_json json = {{"metric", m.metric->name}, {"value", m.metric->value}};
  if (m.metric->exact_match) json["exact_match"] = *m.metric->exact_match;
  return json;
}

nlohmann::ordered_json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

void Run(CompareCommand command) {
  command.measure.device = command.common.device;
  command.measure.dtype = command.common.dtype;
  command.measure.threads = command.common.threads;
  command.measure.labels_optional = true;
  const PairMeasurement pair =
      MeasurePair(command.reference, command.other, command.measure, Console(command.common.quiet));
  const Comparison& c = pair.comparison;
  const nlohmann::ordered_json json = {{"max_difference", c.max_difference},
                                       {"mean_difference", c.mean_difference},
                                       {"kl", OrNull(c.kl)},
                                       {"agreement", OrNull(c.agreement)},
                                       {"cosine", OrNull(c.cosine)},
                                       {"first", MetricJson(pair.first)},
                                       {"second", MetricJson(pair.second)},
                                       {"examples", pair.first.examples},
                                       {"tokens", pair.first.tokens},
                                       {"runtimes", {pair.first.runtime, pair.second.runtime}},
                                       {"device", pair.first.device},
                                       {"dtype", pair.first.dtype}};
  if (command.common.json) return PrintJson(json);
  fmt::print("largest difference  {:.6g}\nmean difference     {:.6g}\n", c.max_difference,
             c.mean_difference);
  if (c.kl) fmt::print("mean KL             {:.6g} nats\n", *c.kl);
  if (c.agreement) fmt::print("agreement           {:.4f}\n", *c.agreement);
  if (c.cosine) fmt::print("mean cosine         {:.6f}\n", *c.cosine);
  if (pair.first.metric && pair.second.metric) {
    fmt::print("{:<19} {:.4f} and {:.4f}\n", pair.first.metric->name, pair.first.metric->value,
               pair.second.metric->value);
  }
}

}  // namespace

void AddCompare(CLI::App* app, Action* action) {
  auto command = std::make_shared<CompareCommand>();
  CLI::App* sub = app->add_subcommand("compare", "Say how far two models' outputs are apart");
  sub->add_option("REFERENCE", command->reference, "folder, GGUF file or ONNX file")->required();
  sub->add_option("OTHER", command->other, "folder, GGUF file or ONNX file")->required();
  sub->add_option("--data", command->measure.data, "examples: .jsonl or .txt")->required();
  sub->add_option("--limit", command->measure.limit, "first N examples only")
      ->check(CLI::Range(1, 1 << 30));
  AddCommonOptions(sub, &command->common);
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
