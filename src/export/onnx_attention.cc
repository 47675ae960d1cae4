#include "export/onnx_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "model/relative_buckets.h"

namespace coppice {
namespace {

// Added to the scores of padding; ONNX Runtime's own number, which float16 holds, too.
constexpr float kMasked = -10000;

// The distinct columns of all layers' tables, and which of them each sub-layer's heads have. Pruned
// layers keep different columns of what was one table.
struct BiasColumns {
  std::vector<at::Tensor> columns;             // each (buckets) float32
  std::vector<std::vector<int64_t>> of_heads;  // of each sub-layer; empty without a bias
};

BiasColumns CollectColumns(const OnnxBuild& build) {
  BiasColumns result;
  std::map<std::vector<float>, int64_t> known;
  for (const SubLayerSpec& sub : build.model.spec.sub_layers) {
    std::vector<int64_t>& heads = result.of_heads.emplace_back();
    if (sub.relative_bias.empty() || sub.units == 0) continue;
    const at::Tensor table = TensorOf(build, sub.relative_bias).t().to(at::kFloat).contiguous();
    for (int64_t head = 0; head < sub.units; ++head) {
      const at::Tensor column = table[head];
      const float* const values = column.const_data_ptr<float>();
      const auto [found, added] = known.try_emplace(
          std::vector<float>(values, values + column.numel()), static_cast<int64_t>(known.size()));
      if (added) result.columns.push_back(column);
      heads.push_back(found->second);
    }
  }
  return result;
}

// Biases by distance: entry M - 1 + d is that of a key d tokens after the query. (columns, 2 M -
// 1).
at::Tensor TableByDistance(const BiasColumns& columns, int64_t max_tokens) {
  const at::Tensor table = at::stack(columns.columns);  // (columns, buckets)
  const at::Tensor buckets = RelativeBuckets(max_tokens, table.size(1), at::kLong);
  const at::Tensor before = buckets.select(1, 0).slice(0, 1).flip(0);
  return table.index_select(1, at::cat({before, buckets.select(0, 0)}));
}

// (1, columns, T, T).
std::string AddAllBiases(OnnxBuild* build, const BiasColumns& columns, const std::string& ids) {
  OnnxGraph& graph = build->graph;
  const int64_t max_tokens = build->model.spec.max_tokens;
  const std::string shape = graph.Node("Shape", {ids}, "relative/shape");
  const std::string tokens =
      graph.Node("Gather", {shape, graph.Integer("relative/axis", 1)}, "relative/tokens");
  const std::string range = graph.Node(
      "Range", {graph.Integer("relative/zero", 0), tokens, graph.Integer("relative/one", 1)},
      "relative/range");
  const std::string front = graph.Integers("relative/front", {0});
  const std::string key = graph.Node("Unsqueeze", {range, front}, "relative/key");
  const std::string query =
      graph.Node("Unsqueeze", {range, graph.Integers("relative/back", {1})}, "relative/query");
  const std::string distance = graph.Node("Sub", {key, query}, "relative/distance");
  const std::string index = graph.Node(
      "Add", {distance, graph.Integer("relative/origin", max_tokens - 1)}, "relative/index");
  const std::string table = graph.Tensor("relative/table", TableByDistance(columns, max_tokens));
  const std::string biases =
      graph.Node("Gather", {table, index}, "relative/biases", {{"axis", int64_t{1}}});
  return graph.Node("Unsqueeze", {biases, front}, "relative/bias");
}

void AddBiases(OnnxBuild* build, const std::string& ids, OnnxAttentionInputs* inputs) {
  const BiasColumns columns = CollectColumns(*build);
  inputs->biases.resize(columns.of_heads.size());
  if (columns.columns.empty()) return;
  const std::string all = AddAllBiases(build, columns, ids);
  std::vector<int64_t> every(columns.columns.size());
  for (size_t i = 0; i < every.size(); ++i) every[i] = static_cast<int64_t>(i);
  std::map<std::vector<int64_t>, std::string> made;
  for (size_t i = 0; i < columns.of_heads.size(); ++i) {
    const std::vector<int64_t>& heads = columns.of_heads[i];
    if (heads.empty()) continue;
    std::string& bias = made[heads];
    if (bias.empty()) {
      const std::string scope =
          fmt::format("relative/layer.{}", build->model.spec.sub_layers[i].layer);
      bias = heads == every ? all
                            : build->graph.Node(
                                  "Gather", {all, build->graph.Integers(scope + "/heads", heads)},
                                  scope + "/bias", {{"axis", int64_t{1}}});
      if (build->style == OnnxStyle::kPlain)
        bias = build->graph.Node("Add", {bias, inputs->mask}, scope + "/masked");
    }
    inputs->biases[i] = bias;
  }
}

// What scores are multiplied with, however narrow the heads are.
float ScaleOf(const ModelSpec& spec) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(spec.head_width)));
}

// softmax(Q K' / sqrt(E) + bias) V in one node, which adds the biases of the projections.
std::string AddFused(OnnxBuild* build, const OnnxAttentionInputs& inputs, size_t index,
                     const std::string& hidden, const std::string& scope) {
  const SubLayerSpec& sub = build->model.spec.sub_layers[index];
  std::vector<std::string> arguments;
  std::vector<at::Tensor> biases;
  for (const auto& [linear, name] :
       {std::pair(sub.query, "/query"), {sub.key, "/key"}, {sub.value, "/value"}}) {
    arguments.push_back(AddProduct(build, linear, hidden, scope + name));
    biases.push_back(TensorOf(*build, linear + ".bias").to(at::kFloat));
  }
  arguments.push_back(build->graph.Tensor(scope + "/biases", at::cat(biases)));
  arguments.push_back(inputs.keys);
  if (!inputs.biases[index].empty()) arguments.push_back(inputs.biases[index]);
  std::vector<OnnxAttribute> attributes = {{"num_heads", sub.units}};
  const ModelSpec& spec = build->model.spec;
  if (sub.key_width != spec.head_width) attributes.push_back({"scale", ScaleOf(spec)});
  return build->graph.FusedNode("MultiHeadAttention", arguments, scope + "/mixed", attributes);
}

// x W' + b by heads: (B, units, T, K or F), keys (B, units, K, T).
std::string AddHeads(OnnxBuild* build, const std::string& linear, const std::vector<int64_t>& order,
                     const std::string& hidden, const std::string& heads,
                     const std::string& output) {
  const std::string x = AddLinear(build, linear, Activation::kIdentity, hidden, output + "/rows");
  const std::string split = build->graph.Node("Reshape", {x, heads}, output + "/heads");
  return build->graph.Node("Transpose", {split}, output, {{"perm", order}});
}

std::string AddPlain(OnnxBuild* build, const OnnxAttentionInputs& inputs, size_t index,
                     const std::string& hidden, const std::string& scope) {
  OnnxGraph& graph = build->graph;
  const SubLayerSpec& sub = build->model.spec.sub_layers[index];
  const std::vector<int64_t> rows = {0, 2, 1, 3}, columns = {0, 2, 3, 1};
  // Sizes 0 stay as they are.
  const std::string heads = graph.Integers(scope + "/shape", {0, 0, sub.units, sub.key_width});
  const std::string of_values =
      sub.width == sub.key_width
          ? heads
          : graph.Integers(scope + "/shape_of_values", {0, 0, sub.units, sub.width});
  const std::string query = AddHeads(build, sub.query, rows, hidden, heads, scope + "/query");
  const std::string key = AddHeads(build, sub.key, columns, hidden, heads, scope + "/key");
  const std::string value = AddHeads(build, sub.value, rows, hidden, of_values, scope + "/value");
  const std::string scale = "attention/scale";
  if (!graph.Has(scale)) graph.Number(scale, ScaleOf(build->model.spec));
  const std::string scaled = graph.Node("Mul", {query, scale}, scope + "/scaled");
  const std::string scores = graph.Node("MatMul", {scaled, key}, scope + "/scores");
  const std::string& bias = inputs.biases[index].empty() ? inputs.mask : inputs.biases[index];
  const std::string masked = graph.Node("Add", {scores, bias}, scope + "/masked");
  const std::string shares =
      graph.Node("Softmax", {masked}, scope + "/shares", {{"axis", int64_t{-1}}});
  const std::string mixed = graph.Node("MatMul", {shares, value}, scope + "/by_head");
  const std::string joined = graph.Node("Transpose", {mixed}, scope + "/joined", {{"perm", rows}});
  const std::string flat = graph.Integers(scope + "/flat", {0, 0, sub.units * sub.width});
  return graph.Node("Reshape", {joined, flat}, scope + "/mixed");
}

}  // namespace

OnnxAttentionInputs AddAttentionInputs(OnnxBuild* build, const std::string& ids,
                                       const std::string& attention_mask) {
  OnnxGraph& graph = build->graph;
  OnnxAttentionInputs inputs;
  if (build->style == OnnxStyle::kFused) {
    inputs.keys = graph.Node("Cast", {attention_mask}, "attention/keys",
                             {{"to", static_cast<int64_t>(OnnxType::kInt32)}});
  } else {
    const std::string real = graph.Node("Cast", {attention_mask}, "attention/real",
                                        {{"to", static_cast<int64_t>(OnnxType::kFloat)}});
    const std::string padding =
        graph.Node("Sub", {graph.Number("attention/one", 1), real}, "attention/padding");
    const std::string mask = graph.Node("Mul", {padding, graph.Number("attention/masked", kMasked)},
                                        "attention/flat_mask");
    inputs.mask =
        graph.Node("Unsqueeze", {mask, graph.Integers("attention/axes", {1, 2})}, "attention/mask");
  }
  AddBiases(build, ids, &inputs);
  return inputs;
}

std::string AddAttention(OnnxBuild* build, const OnnxAttentionInputs& inputs, size_t index,
                         const std::string& hidden, const std::string& scope) {
  return build->style == OnnxStyle::kFused ? AddFused(build, inputs, index, hidden, scope)
                                           : AddPlain(build, inputs, index, hidden, scope);
}

}  // namespace coppice
