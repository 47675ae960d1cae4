#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "model/cost.h"
#include "model/head_widths.h"
#include "model/model.h"

namespace coppice {
namespace {

struct InspectCommand {
  std::string model;
  double at_length = 128;
  bool json = false;
};

nlohmann::ordered_json Describe(const Model& model, double tokens) {
  const ModelSpec& spec = model.spec;
  const ModelSize size = MeasureSize(model, tokens);
  nlohmann::ordered_json heads = nlohmann::ordered_json::array();
  nlohmann::ordered_json channels = nlohmann::ordered_json::array();
  for (const SubLayerSpec& sub : spec.sub_layers) {
    (sub.kind == UnitKind::kHead ? heads : channels).push_back(sub.units);
  }
  nlohmann::ordered_json widths = nlohmann::ordered_json::object();
  AddHeadWidths(spec, &widths);
  nlohmann::ordered_json json = {
      {"family", spec.family},
      {"task", TaskName(spec.task)},
      {"labels", spec.labels},
      {"layers", spec.layers},
      {"width", spec.width},
      {"head_width", spec.head_width},
      {"heads", heads},
      {"channels", channels},
      {"vocabulary", spec.vocabulary},
      {"max_tokens", spec.max_tokens},
      {"params", {{"model", size.parameters}, {"blocks", size.parameters_blocks}}},
      {"macs", {{"model", size.macs}, {"blocks", size.macs_blocks}, {"at_length", tokens}}},
      {"bytes", BytesInFile(model.source, size)},
      {"prunable", true}};
  json.update(widths);
  return json;
}

void Run(const InspectCommand& command) {
  const Model model = LoadModel(command.model);
  const nlohmann::ordered_json json = Describe(model, command.at_length);
  if (command.json) {
    PrintJson(json);
    return;
  }
  const ModelSpec& spec = model.spec;
  const ModelSize size = MeasureSize(model, command.at_length);
  fmt::print("family       {}, {}{}\n", spec.family, TaskName(spec.task),
             spec.task == Task::kClassification ? fmt::format(" of {} classes", spec.labels) : "");
  fmt::print("layers       {} of width {}, heads of width {}, inputs of up to {} tokens\n",
             spec.layers, spec.width, spec.head_width, spec.max_tokens);
  fmt::print("heads        {}\nchannels     {}\n", json["heads"].dump(), json["channels"].dump());
  for (const char* name : {"values", "keys"}) {
    if (json.contains(name)) fmt::print("{:<12} {}\n", name, json[name].dump());
  }
  fmt::print("parameters   {}, {} of them in prunable units\n", Count(size.parameters),
             Count(size.parameters_blocks));
  fmt::print("MACs         {} at {} tokens, {} of them in prunable units\n", Count(size.macs),
             command.at_length, Count(size.macs_blocks));
  fmt::print("size         {}\n", Bytes(json["bytes"].get<int64_t>()));
}

}  // namespace

void AddInspect(CLI::App* app, Action* action) {
  auto command = std::make_shared<InspectCommand>();
  CLI::App* sub =
      app->add_subcommand("inspect", "Say what a model is made of, or why it cannot be pruned");
  sub->add_option("MODEL", command->model, "Hugging Face folder or GGUF file")->required();
  sub->add_option("--at-length", command->at_length, "tokens at which MACs are counted")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  sub->add_flag("--json", command->json, "machine-readable result on stdout");
  sub->callback([command, action] { *action = [command] { Run(*command); }; });
}

}  // namespace coppice
