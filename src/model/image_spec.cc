#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/config_reader.h"
#include "model/image_family.h"
#include "model/tensor_checker.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;
using Tensors = std::map<std::string, at::Tensor>;

constexpr int64_t kMaxGrid = 4096;

std::string LayerName(int64_t layer) { return fmt::format("layers.{}.", layer); }
std::string FusedName(int64_t layer) { return LayerName(layer) + "attention.wqkv.weight"; }

// The side of the image in tokens.
int64_t ReadGrid(const Json& config, const ConfigReader& read) {
  const auto found = config.find("grid");
  if (found != config.end() && found->is_array()) {
    const bool square = found->size() == 2 && (*found)[0] == (*found)[1];
    ThrowBadInput({.what = square ? "bad \"grid\"" : "the grid is not square",
                   .where = read.where(),
                   .expected = "one integer, the side of the grid",
                   .found = Printable(found->dump())});
  }
  return read.Integer("grid", 1, kMaxGrid);
}

// Frequencies of half of the pairs, for rows; those for columns are the same.
std::vector<float> GridFrequencies(const ConfigReader& read, int64_t head_width) {
  const double theta = read.NumberOr("rope_theta", 10000);
  if (!(theta > 0) || !std::isfinite(theta)) {
    ThrowBadInput({.what = "bad \"rope_theta\"",
                   .where = read.where(),
                   .expected = "a number above 0",
                   .found = fmt::to_string(theta)});
  }
  const auto half = static_cast<double>(head_width / 2);
  std::vector<float> frequencies;
  for (int64_t j = 0; j < head_width / 4; ++j)
    frequencies.push_back(static_cast<float>(std::pow(theta, -2 * static_cast<double>(j) / half)));
  return frequencies;
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
  spec->head_width = spec->width / dense.heads;
  if (spec->width % dense.heads != 0 || dense.heads % dense.groups != 0 ||
      spec->head_width % 4 != 0) {
    ThrowBadInput({.what = "the head counts do not fit together",
                   .where = read.where(),
                   .expected = "num_attention_heads a multiple of num_key_value_heads, and "
                               "hidden_size / num_attention_heads of 4",
                   .found = fmt::format("{}, {}, {}", dense.heads, dense.groups, spec->width)});
  }
  return dense;
}

void ReadNumbers(const Json& config, const ConfigReader& read, ModelSpec* spec) {
  spec->vocabulary = read.Integer("vocab_size", 1, kMaxDimension);
  spec->labels = spec->vocabulary;
  spec->image.classes = read.Integer("num_classes", 1, kMaxDimension);
  spec->image.grid = ReadGrid(config, read);
  spec->max_tokens = spec->image.grid * spec->image.grid;
  spec->norm_eps = read.NumberOr("rms_norm_eps", 1e-5);
  if (!(spec->norm_eps > 0 && spec->norm_eps < 1)) {
    ThrowBadInput({.what = "bad \"rms_norm_eps\"",
                   .where = read.where(),
                   .expected = "a number above 0 and below 1",
                   .found = fmt::to_string(spec->norm_eps)});
  }
  spec->activation = Activation::kSilu;
  spec->rotary.frequencies = GridFrequencies(read, spec->head_width);
  spec->rotary.neighbours = true;
}

SubLayerSpec AttentionSpec(int64_t layer, int64_t groups, int64_t queries, int64_t head_width) {
  const std::string name = LayerName(layer) + "attention.";
  SubLayerSpec sub;
  sub.kind = UnitKind::kHead;
  sub.layer = layer;
  sub.units = groups;
  sub.queries = queries;
  sub.width = queries * head_width;
  sub.key_width = head_width;
  sub.query = name + "wq";
  sub.key = name + "wk";
  sub.value = name + "wv";
  sub.output = name + "wo";
  sub.norm = LayerName(layer) + "attention_norm";
  sub.slices = {{sub.query + ".weight", 0, sub.width, HeadPart::kKeys},
                {sub.key + ".weight", 0, head_width, HeadPart::kKeys},
                {sub.value + ".weight", 0, head_width, HeadPart::kValues},
                {sub.output + ".weight", 1, sub.width, HeadPart::kValues}};
  return sub;
}

SubLayerSpec FfnSpec(int64_t layer, int64_t channels) {
  const std::string name = LayerName(layer) + "feed_forward.";
  SubLayerSpec sub;
  sub.kind = UnitKind::kChannel;
  sub.layer = layer;
  sub.units = channels;
  sub.gate = name + "w1";
  sub.up = name + "w3";
  sub.output = name + "w2";
  sub.norm = LayerName(layer) + "ffn_norm";
  sub.slices = {
      {sub.gate + ".weight", 0, 1}, {sub.up + ".weight", 0, 1}, {sub.output + ".weight", 1, 1}};
  return sub;
}

// The fused rows are queries, keys, values; views of them take its place.
void SplitFused(const SubLayerSpec& sub, const ModelSpec& spec, const std::string& where,
                Tensors* tensors) {
  const std::string name = FusedName(sub.layer);
  const int64_t queries = sub.units * sub.width;
  const int64_t keys = queries / sub.queries;
  const at::Tensor fused =
      TensorChecker(*tensors, where).Expect(name, {queries + 2 * keys, spec.width});
  const std::vector<at::Tensor> parts = fused.split_with_sizes({queries, keys, keys}, 0);
  tensors->erase(name);
  const std::vector<std::string> names = {sub.query, sub.key, sub.value};
  for (size_t i = 0; i < names.size(); ++i) {
    if (!tensors->emplace(names[i] + ".weight", parts[i]).second) {
      ThrowBadInput({.what = "queries, keys and values are there twice",
                     .where = fmt::format("{}: tensor \"{}.weight\"", where, names[i])});
    }
  }
}

void CheckTensors(const ModelSpec& spec, const Tensors& tensors, const std::string& where) {
  TensorChecker checker(tensors, where);
  checker.Expect(spec.word_embeddings, {spec.vocabulary, spec.width});
  checker.Expect(spec.image.class_embeddings, {spec.image.classes + 1, spec.width});
  checker.Expect(spec.final_norm + ".weight", {spec.width});
  checker.Expect(spec.output, {spec.vocabulary, spec.width});
  for (const SubLayerSpec& sub : spec.sub_layers) {
    const int64_t inputs = sub.units * sub.width;
    for (const Slice& slice : sub.slices) {  // first matrices; the output follows
      if (slice.axis == 0) checker.Expect(slice.tensor, {sub.units * slice.width, spec.width});
    }
    checker.ExpectLinearMaybeBias(sub.output, spec.width, inputs);
    checker.Expect(sub.norm + ".weight", {spec.width});
  }
  checker.RefuseUnknown({});
}

}  // namespace

ModelSpec MakeImageSpec(const Json& config, Tensors* tensors, const std::string& where) {
  const ConfigReader read(config, where + "/config.json");
  ModelSpec spec;
  spec.family = kImageFamily;
  spec.task = Task::kLanguageModel;
  spec.form = BlockForm::kDecoder;
  const DenseSizes dense = ReadSizes(read, &spec);
  ReadNumbers(config, read, &spec);
  spec.word_embeddings = "tok_embeddings.weight";
  spec.image.class_embeddings = "cls_embedding.embedding_table.weight";
  spec.final_norm = "norm";
  spec.output = "output.weight";
  const std::vector<int64_t> groups = read.Sizes("heads", spec.layers, dense.groups);
  const std::vector<int64_t> channels = read.Sizes("channels", spec.layers, dense.channels);
  for (int64_t i = 0; i < spec.layers; ++i) {
    const auto at = static_cast<size_t>(i);
    spec.sub_layers.push_back(
        AttentionSpec(i, groups[at], dense.heads / dense.groups, spec.head_width));
    SplitFused(spec.sub_layers.back(), spec, where, tensors);
    spec.sub_layers.push_back(FfnSpec(i, channels[at]));
  }
  CheckTensors(spec, *tensors, where);
  return spec;
}

Json ImageConfig(const Json& config, const ModelSpec& spec) {
  Json changed = config;
  changed.erase("coppice");
  Json groups = Json::array(), channels = Json::array();
  for (const SubLayerSpec& sub : spec.sub_layers)
    (sub.kind == UnitKind::kHead ? groups : channels).push_back(sub.units);
  const Json dense_groups = config.value("num_key_value_heads", config["num_attention_heads"]);
  const auto all = [](const Json& list, const Json& value) {
    return std::all_of(list.begin(), list.end(), [&](const Json& v) { return v == value; });
  };
  if (all(groups, dense_groups) && all(channels, channels[0]) && channels[0] > 0) {
    changed["intermediate_size"] = channels[0];
  } else {
    changed["coppice"] = {{"version", 1}, {"heads", groups}, {"channels", channels}};
  }
  return changed;
}

void JoinFused(const ModelSpec& spec, Tensors* tensors) {
  if (spec.image.grid == 0) return;
  for (const SubLayerSpec& sub : spec.sub_layers) {
    if (sub.kind != UnitKind::kHead) continue;
    std::vector<at::Tensor> parts;
    for (const std::string& name : {sub.query, sub.key, sub.value}) {
      parts.push_back(tensors->at(name + ".weight"));
      tensors->erase(name + ".weight");
    }
    tensors->emplace(FusedName(sub.layer), at::cat(parts));
  }
}

}  // namespace coppice
