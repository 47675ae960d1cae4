#include "model/hugging_face.h"

#include <fmt/format.h>

#include <vector>

#include "core/error.h"
#include "model/decoder_family.h"
#include "model/encoder_family.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

std::string ClassPrefix(const std::string& model_type) {
  for (const EncoderFamily& family : EncoderFamilies()) {
    if (family.model_type == model_type) return family.class_prefix;
  }
  for (const DecoderFamily& family : DecoderFamilies()) {
    if (family.model_type == model_type) return family.class_prefix;
  }
  Check(false, "unknown family");
  return {};
}

}  // namespace

void MapClasses(const ModelSpec& spec, Json* config) {
  Json map = config->value("auto_map", Json::object());
  if (!map.is_object()) map = Json::object();
  const std::string module = std::string(kRemoteModule) + ".";
  Json kept = Json::object();
  for (const auto& [name, value] : map.items()) {
    if (!value.is_string() || !value.get<std::string>().starts_with(module)) kept[name] = value;
  }
  if (config->contains("coppice")) {
    const std::string prefix = ClassPrefix(spec.family);
    kept["AutoModel"] = module + prefix + "Model";
    const bool decoder = spec.form == BlockForm::kDecoder;
    const std::vector<std::string> heads =
        decoder ? std::vector<std::string>{"ForCausalLM"}
                : std::vector<std::string>{"ForQuestionAnswering", "ForSequenceClassification"};
    for (const std::string& head : heads)
      kept["AutoModel" + head] = fmt::format("{}{}{}", module, prefix, head);
  }
  config->erase("auto_map");
  if (!kept.empty()) (*config)["auto_map"] = kept;
}

std::map<std::string, at::Tensor> HuggingFaceTensors(const Model& model) {
  std::map<std::string, at::Tensor> tensors = StoredTensors(model);
  if (model.spec.form == BlockForm::kDecoder)
    tensors.merge(DecoderMissingBiases(model.config, model.spec, tensors));
  return tensors;
}

}  // namespace coppice
