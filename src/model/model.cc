#include "model/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "core/error.h"
#include "load/checkpoint.h"
#include "load/gguf.h"
#include "model/decoder_family.h"
#include "model/encoder_spec.h"
#include "model/head_widths.h"
#include "model/hugging_face.h"
#include "model/image_family.h"
#include "model/llama_gguf.h"

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

// The number of channels of every layer, where they agree and all heads are there.
std::optional<int64_t> UniformChannels(const ModelSpec& spec) {
  std::optional<int64_t> channels;
  if (HasNarrowHeads(spec)) return std::nullopt;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind == UnitKind::kHead) {
      if (sub.units * spec.head_width != spec.width) return std::nullopt;
    } else if (channels.value_or(sub.units) != sub.units || sub.units == 0) {
      return std::nullopt;
    } else {
      channels = sub.units;
    }
  }
  return channels;
}

Json EncoderConfig(const Json& config, const ModelSpec& spec) {
  Json changed = config;
  changed.erase("coppice");
  const std::optional<int64_t> channels = UniformChannels(spec);
  for (const EncoderFamily& family : EncoderFamilies()) {
    if (family.model_type != spec.family || !channels) continue;
    changed[family.channels_key] = *channels;
    return changed;
  }
  Json sizes = {{"version", 1}, {"heads", Json::array()}, {"channels", Json::array()}};
  for (const SubLayerSpec& sub : spec.sub_layers) {
    sizes[sub.kind == UnitKind::kHead ? "heads" : "channels"].push_back(sub.units);
  }
  AddHeadWidths(spec, &sizes);
  changed["coppice"] = sizes;
  return changed;
}

Model LoadFolder(const std::filesystem::path& folder) {
  Checkpoint checkpoint = LoadCheckpoint(folder);
  Model model;
  model.tensors = std::move(checkpoint.tensors);
  model.config = std::move(checkpoint.config);
  model.source = folder;
  model.weight_files = std::move(checkpoint.weight_files);
  model.passthrough = std::move(checkpoint.passthrough);
  model.spec = MakeSpec(model.config, &model.tensors, folder.string());
  return model;
}

Model LoadGguf(const std::filesystem::path& path) {
  const GgufFile file = GgufFile::Open(path);
  GgufParts parts = ReadLlamaGguf(file, path.string());
  Model model;
  model.tensors = std::move(parts.tensors);
  model.config = std::move(parts.config);
  model.source = path;
  model.gguf = file.metadata();
  model.weight_files = {path};
  model.spec = MakeSpec(model.config, &model.tensors, path.string());
  model.config = ConfigWithSizes(model.config, model.spec, model.tensors);
  return model;
}

// The GGUF file that `path` names: itself, or the only one of a folder without config.json.
std::optional<std::filesystem::path> GgufFileOf(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (path.extension() == ".gguf" && !fs::is_directory(path, error)) return path;
  if (!fs::is_directory(path, error) || fs::exists(path / "config.json", error))
    return std::nullopt;
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path());
  }
  if (files.size() > 1) {
    ThrowBadInput({.what = "several GGUF files",
                   .where = path.string(),
                   .hint = "name the one that is meant"});
  }
  return files.empty() ? std::nullopt : std::optional(files.front());
}

}  // namespace

std::vector<std::string> FamilyNames() {
  std::vector<std::string> names;
  for (const EncoderFamily& family : EncoderFamilies()) names.push_back(family.model_type);
  for (const DecoderFamily& family : DecoderFamilies()) names.push_back(family.model_type);
  names.emplace_back(kImageFamily);
  return names;
}

ModelSpec MakeSpec(const Json& config, std::map<std::string, at::Tensor>* tensors,
                   const std::string& where) {
  const std::string type = ModelType(config, where);
  for (const EncoderFamily& family : EncoderFamilies()) {
    if (family.model_type == type) return MakeEncoderSpec(family, config, tensors, where);
  }
  for (const DecoderFamily& family : DecoderFamilies()) {
    if (family.model_type == type) return MakeDecoderSpec(family, config, *tensors, where);
  }
  if (type == kImageFamily) return MakeImageSpec(config, tensors, where);
  ThrowBadInput(
      {.what = "this model family cannot be pruned",
       .where = where + "/config.json",
       .expected = fmt::format("\"model_type\" one of {}", fmt::join(FamilyNames(), ", ")),
       .found = fmt::format("\"{}\"", Printable(type))});
}

Model LoadModel(const std::filesystem::path& path) {
  const std::optional<std::filesystem::path> gguf = GgufFileOf(path);
  return gguf ? LoadGguf(*gguf) : LoadFolder(path);
}

std::map<std::string, at::Tensor> OwnTensors(const Model& model) {
  std::map<std::string, at::Tensor> stored = model.tensors;
  const auto shared = stored.find(model.spec.shared_relative_bias);
  if (shared == stored.end()) return stored;
  for (const SubLayerSpec& sub : model.spec.sub_layers) {
    const auto own = stored.find(sub.relative_bias);
    if (own != stored.end() && own->second.is_same(shared->second)) stored.erase(own);
  }
  return stored;
}

std::vector<std::string> Readers(const SubLayerSpec& sub) {
  if (sub.kind == UnitKind::kHead) return {sub.query, sub.key, sub.value};
  if (!sub.gate.empty()) return {sub.gate, sub.up};
  return {sub.up};
}

std::map<std::string, at::Tensor> StoredTensors(const Model& model) {
  std::map<std::string, at::Tensor> stored = OwnTensors(model);
  JoinFused(model.spec, &stored);
  return stored;
}

Json ConfigWithSizes(const Json& config, const ModelSpec& spec,
                     const std::map<std::string, at::Tensor>& tensors) {
  if (spec.image.grid > 0) return ImageConfig(config, spec);
  Json changed = spec.form == BlockForm::kDecoder ? DecoderConfig(config, spec, tensors)
                                                  : EncoderConfig(config, spec);
  MapClasses(spec, &changed);
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
    case Task::kLanguageModel:
      return "language model";
    case Task::kNone:
      return "embedding";
  }
  Check(false, "unknown task");
  return {};
}

std::string UnitName(UnitKind kind) { return kind == UnitKind::kHead ? "head" : "channel"; }

}  // namespace coppice
