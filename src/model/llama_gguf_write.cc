#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "model/decoder_family.h"
#include "model/llama_gguf.h"
#include "model/llama_gguf_names.h"

namespace coppice {
namespace {

constexpr int64_t kQuantBlock = 32;

// Rows of each head from halves (j, j + E / 2) to pairs (2 j, 2 j + 1). x: (heads * E, ...).
at::Tensor HalvesToPairs(const at::Tensor& x, int64_t head_width) {
  if (x.numel() == 0) return x;
  return x.reshape({x.size(0) / head_width, 2, head_width / 2, x.numel() / x.size(0)})
      .transpose(1, 2)
      .reshape(x.sizes());
}

struct Sizes {
  std::vector<int32_t> heads, groups, channels;  // of every layer
  bool alike = true;
};

Sizes SizesOf(const ModelSpec& spec) {
  Sizes sizes;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind == UnitKind::kHead) {
      sizes.groups.push_back(static_cast<int32_t>(sub.units));
      sizes.heads.push_back(static_cast<int32_t>(sub.units * sub.queries));
    } else {
      sizes.channels.push_back(static_cast<int32_t>(sub.units));
    }
  }
  for (const auto* list : {&sizes.heads, &sizes.groups, &sizes.channels}) {
    for (const int32_t number : *list) sizes.alike = sizes.alike && number == list->front();
  }
  return sizes;
}

// What llama.cpp cannot load, or runs wrongly (an attention's output is lost when its layer has no
// channels).
void RefuseImpossible(const Sizes& sizes) {
  const auto refuse = [](size_t layer, const std::string& what) {
    ThrowUsage({.what = fmt::format("layer {} {}", layer, what),
                .where = "--to gguf",
                .hint = "stock llama.cpp cannot run that; keep one of them"});
  };
  if (sizes.groups.front() == 0) refuse(0, "has no attention");
  for (size_t i = 0; i < sizes.channels.size(); ++i) {
    const bool last = i + 1 == sizes.channels.size();
    if (sizes.channels[i] == 0 && (last || sizes.groups[i] > 0))
      refuse(i, "has no feed-forward channels");
  }
}

bool DependsOnSizes(const std::string& key) {
  static const std::set<std::string> general = {"general.architecture", "general.file_type",
                                                "general.quantization_version",
                                                "general.alignment"};
  return general.count(key) > 0 || key.starts_with("llama.") || key.starts_with("deci.");
}

uint32_t FileType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return 0;
    case GgmlType::kF16:
      return 1;
    case GgmlType::kQ8_0:
      return 7;
    case GgmlType::kBF16:
      return 32;
    default:
      Check(false, "a type that is not written");
      return 0;
  }
}

// The old file's keys of its architecture, under the new one's name, but for those that say sizes.
void CopyArchitectureKeys(const GgufMetadata& old, const std::string& architecture,
                          GgufMetadata* metadata) {
  static const std::set<std::string> said = {"feed_forward_length",     "attention.head_count",
                                             "attention.head_count_kv", "attention.key_length",
                                             "attention.value_length",  "rope.dimension_count"};
  std::string own = "llama.";
  for (const auto& [key, value] : old)
    if (key == "general.architecture") own = value.As<std::string>().value_or("llama") + ".";
  for (const auto& [key, value] : old) {
    if (!key.starts_with(own)) continue;
    const std::string name = key.substr(own.size());
    if (said.count(name) == 0) metadata->emplace_back(architecture + "." + name, value);
  }
}

GgufMetadata MakeMetadata(const Model& model, const Sizes& sizes, GgmlType type) {
  const std::string architecture = sizes.alike ? "llama" : "deci";
  const auto width = static_cast<uint32_t>(model.spec.head_width);
  GgufMetadata metadata = {{"general.architecture", GgufValue::From<std::string>(architecture)}};
  for (const auto& [key, value] : *model.gguf) {
    if (key.starts_with("general.") && !DependsOnSizes(key)) metadata.emplace_back(key, value);
  }
  CopyArchitectureKeys(*model.gguf, architecture, &metadata);
  const auto add = [&](const std::string& key, const std::vector<int32_t>& list) {
    metadata.emplace_back(
        architecture + "." + key,
        sizes.alike ? GgufValue::From(static_cast<uint32_t>(list.front())) : GgufValue::From(list));
  };
  add("attention.head_count", sizes.heads);
  add("attention.head_count_kv", sizes.groups);
  add("feed_forward_length", sizes.channels);
  for (const char* key : {"attention.key_length", "attention.value_length", "rope.dimension_count"})
    metadata.emplace_back(architecture + "." + key, GgufValue::From(width));
  metadata.emplace_back("general.file_type", GgufValue::From(FileType(type)));
  if (type == GgmlType::kQ8_0)
    metadata.emplace_back("general.quantization_version", GgufValue::From(uint32_t{2}));
  for (const auto& [key, value] : *model.gguf) {
    if (!key.starts_with("general.") && !DependsOnSizes(key)) metadata.emplace_back(key, value);
  }
  return metadata;
}

GgmlType TypeOf(const at::Tensor& tensor, GgmlType wanted) {
  if (tensor.dim() < 2) return GgmlType::kF32;
  if (wanted == GgmlType::kQ8_0 && tensor.size(-1) % kQuantBlock != 0) return GgmlType::kF16;
  return wanted;
}

// Layers in order, the whole model's tensors first.
std::vector<GgufTensor> MakeTensors(const Model& model, GgmlType type) {
  std::vector<GgufTensor> tensors;
  const auto add = [&](const std::string& name) {
    const auto found = model.tensors.find(name);
    if (found == model.tensors.end() || found->second.numel() == 0) return;
    const at::Tensor tensor =
        IsRotated(name) ? HalvesToPairs(found->second, model.spec.head_width) : found->second;
    tensors.push_back({GgufName(name), tensor, TypeOf(tensor, type)});
  };
  const ModelSpec& spec = model.spec;
  add(spec.word_embeddings);
  add(spec.final_norm + ".weight");
  if (spec.output != spec.word_embeddings) add(spec.output);
  const RotaryForm rotary = ReadRotaryForm(model.config, "config");
  if (rotary.kind == "llama3") {
    const at::Tensor base =
        at::tensor(RotaryFrequencies({{"rope_theta", rotary.theta}}, spec.head_width, "config"));
    tensors.push_back(
        {"rope_freqs.weight", base / at::tensor(spec.rotary.frequencies), GgmlType::kF32});
  }
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.units == 0) continue;
    add(sub.norm + ".weight");
    for (const std::string& linear :
         {sub.query, sub.key, sub.value, sub.gate, sub.up, sub.output}) {
      add(linear + ".weight");
      add(linear + ".bias");
    }
  }
  return tensors;
}

}  // namespace

bool HasGgufForm(const ModelSpec& spec) {
  return spec.form == BlockForm::kDecoder && spec.image.grid == 0;
}

GgufMetadata LlamaGgufKeys(const Model& model) {
  const ModelSpec& spec = model.spec;
  const RotaryForm rotary = ReadRotaryForm(model.config, "config");
  const auto integer = [](int64_t value) { return GgufValue::From(static_cast<uint32_t>(value)); };
  const auto number = [](double value) { return GgufValue::From(static_cast<float>(value)); };
  GgufMetadata keys = {
      {"general.architecture", GgufValue::From<std::string>("llama")},
      {"llama.block_count", integer(spec.layers)},
      {"llama.context_length", integer(spec.max_tokens)},
      {"llama.embedding_length", integer(spec.width)},
      {"llama.attention.layer_norm_rms_epsilon", number(spec.norm_eps)},
      {"llama.rope.freq_base", number(rotary.theta)},
      {"llama.vocab_size", integer(spec.vocabulary)},
  };
  if (rotary.kind == "linear") {
    keys.emplace_back("llama.rope.scaling.type", GgufValue::From(rotary.kind));
    keys.emplace_back("llama.rope.scaling.factor", number(rotary.factor));
  }
  return keys;
}

GgufContents MakeLlamaGguf(const Model& model, GgmlType type) {
  Check(model.gguf.has_value(), "a GGUF file without keys");
  const Sizes sizes = SizesOf(model.spec);
  RefuseImpossible(sizes);
  return {MakeMetadata(model, sizes, type), MakeTensors(model, type)};
}

}  // namespace coppice
