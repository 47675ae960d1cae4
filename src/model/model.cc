#include "model/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "load/checkpoint.h"
#include "model/encoder_spec.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

std::string ModelType(const Json& config, const std::string& where) {
  const auto found = config.find("model_type");
  if (found == config.end() || !found->is_string()) {
    ThrowBadInput({.what = "no \"model_type\"",
                   .where = where + "/config.json",
                   .expected = fmt::format("one of {}", fmt::join(FamilyNames(), ", "))});
  }
  return found->get<std::string>();
}

}  // namespace

std::vector<std::string> FamilyNames() {
  std::vector<std::string> names;
  for (const EncoderFamily& family : EncoderFamilies()) names.push_back(family.model_type);
  return names;
}

ModelSpec MakeSpec(const Json& config, std::map<std::string, at::Tensor>* tensors,
                   const std::string& where) {
  const std::string type = ModelType(config, where);
  for (const EncoderFamily& family : EncoderFamilies()) {
    if (family.model_type == type) return MakeEncoderSpec(family, config, tensors, where);
  }
  ThrowBadInput(
      {.what = "this model family cannot be pruned",
       .where = where + "/config.json",
       .expected = fmt::format("\"model_type\" one of {}", fmt::join(FamilyNames(), ", ")),
       .found = fmt::format("\"{}\"", Printable(type))});
}

Model LoadModel(const std::filesystem::path& folder) {
  Checkpoint checkpoint = LoadCheckpoint(folder);
  Model model;
  model.tensors = std::move(checkpoint.tensors);
  model.config = std::move(checkpoint.config);
  model.folder = folder;
  model.weight_files = std::move(checkpoint.weight_files);
  model.passthrough = std::move(checkpoint.passthrough);
  model.spec = MakeSpec(model.config, &model.tensors, folder.string());
  return model;
}

Json ConfigWithSizes(const Json& config, const ModelSpec& spec) {
  Json sizes = {{"version", 1}, {"heads", Json::array()}, {"channels", Json::array()}};
  for (const SubLayerSpec& sub : spec.sub_layers) {
    sizes[sub.kind == UnitKind::kHead ? "heads" : "channels"].push_back(sub.units);
  }
  Json changed = config;
  changed["coppice"] = sizes;
  return changed;
}

std::string TaskName(Task task) {
  switch (task) {
    case Task::kClassification:
      return "classification";
    case Task::kRegression:
      return "regression";
    case Task::kQuestionAnswering:
      return "question answering";
    case Task::kNone:
      return "embedding";
  }
  Check(false, "unknown task");
  return {};
}

std::string UnitName(UnitKind kind) { return kind == UnitKind::kHead ? "head" : "channel"; }

}  // namespace coppice
