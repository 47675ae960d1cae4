#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "model/config_reader.h"
#include "model/decoder_family.h"
#include "model/head_widths.h"
#include "model/tensor_checker.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;
using Tensors = std::map<std::string, at::Tensor>;

Slice Columns(const std::string& linear, int64_t width, HeadPart part) {
  return {linear + ".weight", 1, width, part};
}

// A linear layer whose rows leave with the units; its bias as well, where there is one.
void AddRows(const std::string& linear, int64_t width, HeadPart part, const Tensors& tensors,
             SubLayerSpec* sub) {
  sub->slices.push_back({linear + ".weight", 0, width, part});
  if (tensors.count(linear + ".bias") > 0)
    sub->slices.push_back({linear + ".bias", 0, width, part});
}

SubLayerSpec AttentionSpec(const std::string& layer, int64_t groups, int64_t queries, int64_t keys,
                           int64_t values, const Tensors& tensors) {
  SubLayerSpec sub;
  sub.kind = UnitKind::kHead;
  sub.units = groups;
  sub.queries = queries;
  sub.width = queries * values;
  sub.key_width = keys;
  sub.query = layer + "self_attn.q_proj";
  sub.key = layer + "self_attn.k_proj";
  sub.value = layer + "self_attn.v_proj";
  sub.output = layer + "self_attn.o_proj";
  sub.norm = layer + "input_layernorm";
  AddRows(sub.query, queries * keys, HeadPart::kKeys, tensors, &sub);
  AddRows(sub.key, keys, HeadPart::kKeys, tensors, &sub);
  AddRows(sub.value, values, HeadPart::kValues, tensors, &sub);
  sub.slices.push_back(Columns(sub.output, sub.width, HeadPart::kValues));
  return sub;
}

SubLayerSpec FfnSpec(const std::string& layer, int64_t channels, const Tensors& tensors) {
  SubLayerSpec sub;
  sub.kind = UnitKind::kChannel;
  sub.units = channels;
  sub.gate = layer + "mlp.gate_proj";
  sub.up = layer + "mlp.up_proj";
  sub.output = layer + "mlp.down_proj";
  sub.norm = layer + "post_attention_layernorm";
  AddRows(sub.gate, 1, HeadPart::kWhole, tensors, &sub);
  AddRows(sub.up, 1, HeadPart::kWhole, tensors, &sub);
  sub.slices.push_back(Columns(sub.output, 1, HeadPart::kWhole));
  return sub;
}

void CheckTensors(const ModelSpec& spec, const Tensors& tensors, const std::string& where) {
  TensorChecker checker(tensors, where);
  checker.Expect(spec.word_embeddings, {spec.vocabulary, spec.width});
  checker.Expect(spec.final_norm + ".weight", {spec.width});
  checker.Expect(spec.output, {spec.vocabulary, spec.width});
  for (const SubLayerSpec& sub : spec.sub_layers) {
    const int64_t inputs = sub.units * sub.width;
    if (sub.kind == UnitKind::kHead) {
      const int64_t keys = sub.units * sub.key_width;
      checker.ExpectLinearMaybeBias(sub.query, keys * sub.queries, spec.width);
      checker.ExpectLinearMaybeBias(sub.key, keys, spec.width);
      checker.ExpectLinearMaybeBias(sub.value, inputs / sub.queries, spec.width);
    } else {
      checker.ExpectLinearMaybeBias(sub.gate, inputs, spec.width);
      checker.ExpectLinearMaybeBias(sub.up, inputs, spec.width);
    }
    checker.ExpectLinearMaybeBias(sub.output, spec.width, inputs);
    checker.Expect(sub.norm + ".weight", {spec.width});
  }
  // Copies of what the config says; and the tied matrix, which some files hold twice.
  std::vector<std::string> unused = {"model.rotary_emb.", "lm_head.weight"};
  for (int64_t i = 0; i < spec.layers; ++i)
    unused.push_back(fmt::format("model.layers.{}.self_attn.rotary_emb.", i));
  checker.RefuseUnknown(unused);
}

// Numbers that the forward pass relies on.
void ReadNumbers(const DecoderFamily& family, const ConfigReader& read, ModelSpec* spec) {
  spec->vocabulary = read.Integer("vocab_size", 1, kMaxDimension);
  spec->max_tokens = read.IntegerOr("max_position_embeddings", 2048, 1, kMaxDimension);
  if (family.sliding_window) {
    spec->max_tokens = std::min(
        spec->max_tokens, read.IntegerOr("sliding_window", spec->max_tokens, 1, kMaxDimension));
  }
  spec->norm_eps = read.NumberOr("rms_norm_eps", family.default_norm_eps);
  if (!(spec->norm_eps > 0 && spec->norm_eps < 1)) {
    ThrowBadInput({.what = "bad \"rms_norm_eps\"",
                   .where = read.where(),
                   .expected = "a number above 0 and below 1",
                   .found = fmt::to_string(spec->norm_eps)});
  }
  const std::string activation = read.TextOr("hidden_act", "silu");
  if (activation != "silu") {
    ThrowBadInput({.what = "unknown \"hidden_act\"",
                   .where = read.where(),
                   .expected = "silu",
                   .found = Printable(activation)});
  }
  spec->activation = Activation::kSilu;
}

struct DenseSizes {
  int64_t heads = 0, groups = 0, channels = 0;
};

DenseSizes ReadSizes(const ConfigReader& read, ModelSpec* spec) {
  DenseSizes dense;
  spec->width = read.Integer("hidden_size", 1, kMaxDimension);
  spec->layers = read.Integer("num_hidden_layers", 1, kMaxLayers);
  dense.heads = read.Integer("num_attention_heads", 1, kMaxDimension);
  dense.groups = read.IntegerOr("num_key_value_heads", dense.heads, 1, dense.heads);
  dense.channels = read.Integer("intermediate_size", 1, kMaxDimension);
  spec->head_width = read.IntegerOr("head_dim", spec->width / dense.heads, 2, kMaxDimension);
  if (dense.heads % dense.groups != 0 || spec->head_width < 2 || spec->head_width % 2 != 0) {
    ThrowBadInput(
        {.what = "the head counts do not fit together",
         .where = read.where(),
         .expected = "num_attention_heads a multiple of num_key_value_heads, an even head_dim",
         .found = fmt::format("{}, {}, {}", dense.heads, dense.groups, spec->head_width)});
  }
  return dense;
}

bool HasBias(const Tensors& tensors, const std::vector<std::string>& linears) {
  return std::any_of(linears.begin(), linears.end(), [&](const std::string& linear) {
    return tensors.count(linear + ".bias") > 0;
  });
}

// More KV groups than any layer has, so that the heads divide the width, where a model was pruned
// before and its dense number of heads is not known.
void WidenHeads(int64_t width, Json* config) {
  const ConfigReader read(*config, "config");
  const int64_t heads = read.Integer("num_attention_heads", 1, kMaxDimension);
  int64_t groups = read.IntegerOr("num_key_value_heads", heads, 1, heads);
  const int64_t queries = heads / groups;
  while (width % (groups * queries) != 0 && groups * queries < width) ++groups;
  if (groups * queries == heads || width % (groups * queries) != 0) return;
  (*config)["num_attention_heads"] = groups * queries;
  (*config)["num_key_value_heads"] = groups;
}

}  // namespace

ModelSpec MakeDecoderSpec(const DecoderFamily& family, const Json& config, const Tensors& tensors,
                          const std::string& where) {
  const ConfigReader read(config, where + "/config.json");
  ModelSpec spec;
  spec.family = family.model_type;
  spec.task = Task::kLanguageModel;
  spec.form = BlockForm::kDecoder;
  const DenseSizes dense = ReadSizes(read, &spec);
  ReadNumbers(family, read, &spec);
  spec.labels = spec.vocabulary;
  spec.rotary.frequencies = RotaryFrequencies(config, spec.head_width, read.where());
  spec.word_embeddings = "model.embed_tokens.weight";
  spec.final_norm = "model.norm";
  const bool tied = read.BooleanOr("tie_word_embeddings", false);
  spec.output = tied ? spec.word_embeddings : "lm_head.weight";
  const std::vector<int64_t> groups = read.Sizes("heads", spec.layers, dense.groups);
  const std::vector<int64_t> channels = read.Sizes("channels", spec.layers, dense.channels);
  std::vector<int64_t> queries(groups.size(), dense.heads / dense.groups);
  const Json* block = read.Object("coppice");
  if (block != nullptr && block->contains("queries")) {
    queries = read.Sizes("queries", spec.layers, kMaxDimension);
  }
  HeadWidths widths = ReadHeadWidths(read, spec.layers, spec.head_width, /*rotates=*/true);
  for (int64_t i = 0; i < spec.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    const auto at = static_cast<size_t>(i);
    spec.sub_layers.push_back(AttentionSpec(layer, groups[at], std::max<int64_t>(1, queries[at]),
                                            widths.keys[at], widths.values[at], tensors));
    spec.sub_layers.back().pairs = std::move(widths.pairs[at]);
    spec.sub_layers.push_back(FfnSpec(layer, channels[at], tensors));
    spec.sub_layers[2 * at].layer = spec.sub_layers[2 * at + 1].layer = i;
  }
  CheckTensors(spec, tensors, where);
  return spec;
}

Json DecoderConfig(const Json& config, const ModelSpec& spec, const Tensors& tensors) {
  Json changed = config;
  changed.erase("coppice");
  Json groups = Json::array(), queries = Json::array(), channels = Json::array();
  bool attention_bias = false, ffn_bias = false;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind == UnitKind::kHead) {
      groups.push_back(sub.units);
      queries.push_back(sub.queries);
      attention_bias |= HasBias(tensors, {sub.query, sub.key, sub.value, sub.output});
    } else {
      channels.push_back(sub.units);
      ffn_bias |= HasBias(tensors, {sub.gate, sub.up, sub.output});
    }
  }
  if (attention_bias) changed["attention_bias"] = true;
  if (ffn_bias) changed["mlp_bias"] = true;
  const auto same = [](const Json& list) {
    return std::all_of(list.begin(), list.end(), [&](const Json& v) { return v == list[0]; });
  };
  changed["head_dim"] = spec.head_width;
  // Only LLaMA's stock class reads biases; another drops them with a warning. In transformers 5 the
  // heads must divide the width, whatever head_dim says.
  const bool biases = spec.family == "llama" || !(attention_bias || ffn_bias);
  const int64_t heads = groups[0].get<int64_t>() * queries[0].get<int64_t>();
  if (biases && !HasNarrowHeads(spec) && same(groups) && same(queries) && same(channels) &&
      heads > 0 && spec.width % heads == 0 && channels[0] > 0) {
    changed["num_key_value_heads"] = groups[0];
    changed["num_attention_heads"] = heads;
    changed["intermediate_size"] = channels[0];
    return changed;
  }
  WidenHeads(spec.width, &changed);
  changed["coppice"] = {{"version", 1}, {"heads", groups}, {"channels", channels}};
  if (!same(queries)) changed["coppice"]["queries"] = queries;
  AddHeadWidths(spec, &changed["coppice"]);
  return changed;
}

Tensors DecoderMissingBiases(const Json& config, const ModelSpec& spec, const Tensors& tensors) {
  const ConfigReader read(config, "config");
  Tensors missing;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    const bool attention = sub.kind == UnitKind::kHead;
    if (!read.BooleanOr(attention ? "attention_bias" : "mlp_bias", false)) continue;
    for (const std::string& linear :
         {sub.query, sub.key, sub.value, sub.gate, sub.up, sub.output}) {
      const auto weight = tensors.find(linear + ".weight");
      if (weight == tensors.end() || tensors.count(linear + ".bias") > 0) continue;
      missing[linear + ".bias"] = at::zeros({weight->second.size(0)}, weight->second.options());
    }
  }
  return missing;
}

const std::vector<DecoderFamily>& DecoderFamilies() {
  static const std::vector<DecoderFamily> families = {
      {.model_type = "llama", .class_prefix = "Llama"},
      {.model_type = "mistral", .class_prefix = "Mistral", .sliding_window = true}};
  return families;
}

}  // namespace coppice
