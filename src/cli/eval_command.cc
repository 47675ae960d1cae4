#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "core/error.h"
#include "pipeline/measure.h"

namespace coppice {
namespace {

struct EvalCommand {
  MeasureOptions measure;
  std::string model, against;
  CommonOptions common;
};

nlohmann::ordered_json EvalJson(const Measurement& m) {
  nlohmann::ordered_json json = {
      {"metric", nullptr},    {"value", nullptr},   {"examples", m.examples}, {"tokens", m.tokens},
      {"seconds", m.seconds}, {"device", m.device}, {"dtype", m.dtype}};
  if (m.metric) {
    json["metric"] = m.metric->name;
    json["value"] = m.metric->value;
    if (m.metric->exact_match) json["exact_match"] = *m.metric->exact_match;
  }
  return json;
}

void Run(EvalCommand command) {
  command.measure.device = command.common.device;
  command.measure.dtype = command.common.dtype;
  command.measure.threads = command.common.threads;
  const Console console(command.common.quiet);
  if (command.against.empty()) {
    const Measurement m = MeasureModel(command.model, command.measure, console);
    if (!m.metric) {
      ThrowUsage({.what = "a model without a head has no metric of its own",
                  .where = command.model,
                  .hint = "compare it with another one: --against MODEL"});
    }
    if (command.common.json) return PrintJson(EvalJson(m));
    fmt::print("{} {:.4f}", m.metric->name, m.metric->value);
    if (m.metric->exact_match) fmt::print(", exact match {:.4f}", *m.metric->exact_match);
    fmt::print(" on {} examples ({} tokens, {:.1f} s)\n", m.examples, Count(m.tokens), m.seconds);
    return;
  }
  // The other model is the reference: KL(other || this).
  const PairMeasurement pair =
      MeasurePair(command.against, command.model, command.measure, console);
  nlohmann::ordered_json json = EvalJson(pair.second);
  const auto add = [&](const char* key, const std::optional<double>& value) {
    if (value) json[key] = *value;
  };
  add("kl", pair.comparison.kl);
  add("agreement", pair.comparison.agreement);
  add("cosine", pair.comparison.cosine);
  if (command.common.json) return PrintJson(json);
  for (const auto& [key, value] : json.items()) {
    fmt::print("{:<12} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

}  // namespace

void AddEval(CLI::App* app, Action* action) {
  auto command = std::make_shared<EvalCommand>();
  CLI::App* sub =
      app->add_subcommand("eval", "Measure a model: accuracy, Spearman, F1 or perplexity");
  sub->add_option("MODEL", command->model, "Hugging Face folder or GGUF file")->required();
  sub->add_option("--data", command->measure.data,
                  "examples: .jsonl; .txt too of language models; .safetensors of image models")
      ->required();
  sub->add_option("--against", command->against,
                  "another model: also KL of it to MODEL, and agreement");
  sub->add_option("--limit", command->measure.limit, "first N examples only")
      ->check(CLI::Range(1, 1 << 30));
  AddCommonOptions(sub, &command->common);
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
