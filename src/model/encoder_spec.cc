#include "model/encoder_spec.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/error.h"
#include "model/config_reader.h"
#include "model/head_widths.h"
#include "model/tensor_checker.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;
using Tensors = std::map<std::string, at::Tensor>;

Activation ReadActivation(const ConfigReader& config, const std::string& key) {
  const std::string name = config.TextOr(key, "gelu");
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  ThrowBadInput({.what = fmt::format("unknown \"{}\"", key),
                 .where = config.where(),
                 .expected = "gelu, gelu_new, gelu_pytorch_tanh or relu",
                 .found = Printable(name)});
}

std::string WithPrefix(const std::string& pattern, const std::string& prefix) {
  constexpr std::string_view kMark = "{prefix}";
  if (!pattern.starts_with(kMark)) return pattern;
  return prefix + pattern.substr(kMark.size());
}

Slice Rows(const std::string& linear, int64_t width, HeadPart part = HeadPart::kWhole) {
  return {linear + ".weight", 0, width, part};
}
Slice Bias(const std::string& linear, int64_t width, HeadPart part = HeadPart::kWhole) {
  return {linear + ".bias", 0, width, part};
}
Slice Columns(const std::string& linear, int64_t width, HeadPart part = HeadPart::kWhole) {
  return {linear + ".weight", 1, width, part};
}

SubLayerSpec AttentionSpec(const EncoderFamily& family, const std::string& layer, int64_t heads,
                           int64_t keys, int64_t values) {
  SubLayerSpec sub;
  sub.kind = UnitKind::kHead;
  sub.units = heads;
  sub.width = values;
  sub.key_width = keys;
  sub.query = layer + family.query;
  sub.key = layer + family.key;
  sub.value = layer + family.value;
  sub.output = layer + family.attention_output;
  sub.norm = layer + family.attention_norm;
  for (const std::string& linear : {sub.query, sub.key}) {
    sub.slices.push_back(Rows(linear, keys, HeadPart::kKeys));
    sub.slices.push_back(Bias(linear, keys, HeadPart::kKeys));
  }
  sub.slices.push_back(Rows(sub.value, values, HeadPart::kValues));
  sub.slices.push_back(Bias(sub.value, values, HeadPart::kValues));
  sub.slices.push_back(Columns(sub.output, values, HeadPart::kValues));
  if (!family.layer_relative_bias.empty()) {
    sub.relative_bias = layer + family.layer_relative_bias;
    sub.slices.push_back({sub.relative_bias, 1, 1});
  }
  return sub;
}

SubLayerSpec FfnSpec(const EncoderFamily& family, const std::string& layer, int64_t channels) {
  SubLayerSpec sub;
  sub.kind = UnitKind::kChannel;
  sub.units = channels;
  sub.width = 1;
  sub.up = layer + family.up;
  sub.output = layer + family.down;
  sub.norm = layer + family.ffn_norm;
  sub.slices = {Rows(sub.up, 1), Bias(sub.up, 1), Columns(sub.output, 1)};
  return sub;
}

// Gives every layer its own relative bias: where the file has only the shared table, all of its
// columns.
void SplitSharedBias(const EncoderFamily& family, const std::string& prefix, const ModelSpec& spec,
                     Tensors* tensors) {
  if (family.shared_relative_bias.empty()) return;
  const auto shared = tensors->find(prefix + family.shared_relative_bias);
  if (shared == tensors->end()) return;  // the checker will name it
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (!sub.relative_bias.empty()) tensors->try_emplace(sub.relative_bias, shared->second);
  }
}

void CheckSubLayer(const SubLayerSpec& sub, int64_t width, int64_t buckets,
                   TensorChecker* checker) {
  const int64_t inputs = sub.units * sub.width;
  if (sub.kind == UnitKind::kHead) {
    for (const std::string& linear : {sub.query, sub.key})
      checker->ExpectLinear(linear, sub.units * sub.key_width, width);
    checker->ExpectLinear(sub.value, inputs, width);
    if (!sub.relative_bias.empty()) checker->Expect(sub.relative_bias, {buckets, sub.units});
  } else {
    checker->ExpectLinear(sub.up, inputs, width);
  }
  checker->ExpectLinear(sub.output, width, inputs);
  checker->ExpectNorm(sub.norm, width);
}

// The task follows from the tensors of the head that are there.
void ReadHead(const EncoderFamily& family, const std::string& prefix, const Tensors& tensors,
              const std::string& where, ModelSpec* spec) {
  const std::string classifier = WithPrefix(family.classifier.back().name, prefix) + ".weight";
  const auto rows = [&](const std::string& name) {
    const at::Tensor& tensor = tensors.at(name);
    if (tensor.dim() != 2) {
      ThrowBadInput({.what = "wrong rank",
                     .where = where + ": tensor \"" + name + "\"",
                     .expected = "2",
                     .found = fmt::to_string(tensor.dim())});
    }
    return tensor.size(0);
  };
  if (tensors.count(classifier) > 0) {
    spec->labels = rows(classifier);
    spec->task = spec->labels == 1 ? Task::kRegression : Task::kClassification;
    for (HeadLinear linear : family.classifier) {
      linear.name = WithPrefix(linear.name, prefix);
      spec->head.push_back(linear);
    }
  } else if (tensors.count(family.question_answering + ".weight") > 0) {
    spec->labels = 2;
    spec->task = Task::kQuestionAnswering;
    spec->head = {{family.question_answering}};
  }
}

// Losses that are not ours would be computed wrongly without a word.
void RefuseOtherProblems(const ConfigReader& config, const ModelSpec& spec) {
  const std::string problem = config.TextOr("problem_type", "");
  const bool several_values = problem == "regression" && spec.labels > 1;
  if (spec.head.empty() || (problem != "multi_label_classification" && !several_values)) return;
  ThrowBadInput(
      {.what = "this head cannot be pruned",
       .where = config.where(),
       .expected = "classes that exclude each other, or one regression value",
       .found = fmt::format("\"problem_type\": \"{}\" with {} outputs", problem, spec.labels)});
}

void RefuseOtherHeads(const Json& config, const ModelSpec& spec, const std::string& where) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !(*found)[0].is_string())
    return;
  const std::string name = (*found)[0].get<std::string>();
  const bool other =
      name.ends_with("ForTokenClassification") || name.ends_with("ForMultipleChoice");
  const bool headless = spec.task == Task::kNone && (name.ends_with("ForSequenceClassification") ||
                                                     name.ends_with("ForQuestionAnswering"));
  if (!other && !headless) return;
  ThrowBadInput(
      {.what = other ? "this head cannot be pruned" : "the head's tensors are missing",
       .where = where + "/config.json",
       .expected = "sequence classification, regression, question answering, or a bare encoder",
       .found = Printable(name)});
}

void CheckTensors(const EncoderFamily& family, const std::string& prefix, const Json& config,
                  const ModelSpec& spec, const Tensors& tensors, const std::string& where) {
  const ConfigReader read(config, where + "/config.json");
  TensorChecker checker(tensors, where);
  const int64_t padding_rows = spec.positions == PositionRule::kAfterPadding ? spec.pad_id + 1 : 0;
  checker.Expect(spec.word_embeddings, {spec.vocabulary, spec.width});
  checker.Expect(spec.position_embeddings, {spec.max_tokens + padding_rows, spec.width});
  if (!spec.token_type_embeddings.empty()) {
    checker.Expect(spec.token_type_embeddings, {spec.token_types, spec.width});
  }
  checker.ExpectNorm(spec.embedding_norm, spec.width);
  int64_t buckets = 0;
  if (!family.shared_relative_bias.empty()) {
    buckets = read.IntegerOr("relative_attention_num_buckets", 32, 4, 4096);
    checker.Expect(prefix + family.shared_relative_bias, {buckets, spec.width / spec.head_width});
  }
  for (const SubLayerSpec& sub : spec.sub_layers) CheckSubLayer(sub, spec.width, buckets, &checker);
  for (size_t i = 0; i < spec.head.size(); ++i) {
    const bool last = i + 1 == spec.head.size();
    checker.ExpectLinear(spec.head[i].name, last ? spec.labels : spec.width, spec.width);
  }
  std::vector<std::string> unused = family.unused;
  for (std::string& name : unused) name = WithPrefix(name, prefix);
  checker.RefuseUnknown(unused);
}

}  // namespace

ModelSpec MakeEncoderSpec(const EncoderFamily& family, const Json& config, Tensors* tensors,
                          const std::string& where) {
  const ConfigReader read(config, where + "/config.json");
  ModelSpec spec;
  spec.family = family.model_type;
  spec.width = read.Integer(family.width_key, 1, kMaxDimension);
  spec.layers = read.Integer(family.layers_key, 1, kMaxLayers);
  const int64_t heads = read.Integer(family.heads_key, 1, spec.width);
  const int64_t channels = read.Integer(family.channels_key, 1, kMaxDimension);
  if (spec.width % heads != 0) {
    ThrowBadInput({.what = fmt::format("\"{}\" is not a multiple of \"{}\"", family.width_key,
                                       family.heads_key),
                   .where = read.where(),
                   .found = fmt::format("{} and {}", spec.width, heads)});
  }
  spec.head_width = spec.width / heads;
  spec.vocabulary = read.Integer("vocab_size", 1, kMaxDimension);
  spec.positions = family.positions;
  const int64_t default_pad = spec.positions == PositionRule::kAfterPadding ? 1 : 0;
  spec.pad_id = read.IntegerOr("pad_token_id", default_pad, 0, spec.vocabulary - 1);
  const int64_t before = spec.positions == PositionRule::kAfterPadding ? spec.pad_id + 1 : 0;
  const int64_t rows =
      read.IntegerOr("max_position_embeddings", before + 512, before + 1, kMaxDimension);
  spec.max_tokens = rows - before;
  spec.norm_eps = read.NumberOr("layer_norm_eps", family.default_norm_eps);
  spec.activation = ReadActivation(read, family.activation_key);
  if (read.TextOr("position_embedding_type", "absolute") != "absolute") {
    ThrowBadInput({.what = "unknown \"position_embedding_type\"",
                   .where = read.where(),
                   .expected = "absolute",
                   .found = Printable(read.TextOr("position_embedding_type", ""))});
  }
  const std::string prefix = tensors->count(family.prefix + family.word) > 0 ? family.prefix : "";
  spec.word_embeddings = prefix + family.word;
  spec.position_embeddings = prefix + family.position;
  if (!family.token_type.empty()) {
    spec.token_type_embeddings = prefix + family.token_type;
    spec.token_types = read.IntegerOr("type_vocab_size", 2, 1, kMaxDimension);
  }
  spec.embedding_norm = prefix + family.embedding_norm;
  if (!family.shared_relative_bias.empty()) {
    spec.shared_relative_bias = prefix + family.shared_relative_bias;
  }
  const std::vector<int64_t> head_counts = read.Sizes("heads", spec.layers, heads);
  const std::vector<int64_t> channel_counts = read.Sizes("channels", spec.layers, channels);
  const HeadWidths widths = ReadHeadWidths(read, spec.layers, spec.head_width, /*rotates=*/false);
  for (int64_t i = 0; i < spec.layers; ++i) {
    const std::string layer = prefix + fmt::format(fmt::runtime(family.layer), i);
    const auto at = static_cast<size_t>(i);
    spec.sub_layers.push_back(
        AttentionSpec(family, layer, head_counts[at], widths.keys[at], widths.values[at]));
    spec.sub_layers.push_back(FfnSpec(family, layer, channel_counts[at]));
    spec.sub_layers[2 * at].layer = spec.sub_layers[2 * at + 1].layer = i;
  }
  ReadHead(family, prefix, *tensors, where, &spec);
  RefuseOtherHeads(config, spec, where);
  RefuseOtherProblems(read, spec);
  SplitSharedBias(family, prefix, spec, tensors);
  CheckTensors(family, prefix, config, spec, *tensors, where);
  return spec;
}

}  // namespace coppice
