#include "export/onnx_encoder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "export/onnx_attention.h"
#include "model/head_widths.h"

namespace coppice {
namespace {

const OnnxAttribute kAsInteger = {"to", static_cast<int64_t>(OnnxType::kInt64)};
const OnnxAttribute kAsNumber = {"to", static_cast<int64_t>(OnnxType::kFloat)};

struct Inputs {
  std::string ids, mask;  // (B, T) int64
  std::string types;      // (B, T) int64; empty where there is nothing to tell apart
};

// A table with one row is a constant, not an input: RoBERTa's.
bool HasTypes(const Model& model) {
  const std::string& table = model.spec.token_type_embeddings;
  return !table.empty() && model.tensors.at(table).size(0) > 1;
}

Inputs AddInputs(OnnxBuild* build) {
  const auto input = [&](const std::string& name) {
    return build->graph.Input({name, OnnxType::kInt64, {"batch", "sequence"}});
  };
  return {input("input_ids"), input("attention_mask"),
          HasTypes(build->model) ? input("token_type_ids") : ""};
}

// Row of the position table for every token, (B, T). Counted by sums that keep the shape of the
// ids: ONNX Runtime fuses what follows only where it knows shapes.
std::string AddPositions(OnnxBuild* build, const std::string& ids) {
  OnnxGraph& graph = build->graph;
  const ModelSpec& spec = build->model.spec;
  const std::string axis = graph.Integer("positions/axis", 1);
  if (spec.positions == PositionRule::kFromZero) {
    const std::string zeros =
        graph.Node("Mul", {ids, graph.Integer("positions/zero", 0)}, "positions/zeros");
    const std::string ones =
        graph.Node("Add", {zeros, graph.Integer("positions/one", 1)}, "positions/ones");
    return graph.Node("CumSum", {ones, axis}, "positions/ids", {{"exclusive", int64_t{1}}});
  }
  const std::string pad = graph.Integer("positions/pad", spec.pad_id);
  const std::string padding = graph.Node("Equal", {ids, pad}, "positions/is_padding");
  const std::string not_padding = graph.Node("Not", {padding}, "positions/is_real");
  const std::string real = graph.Node("Cast", {not_padding}, "positions/real", {kAsInteger});
  const std::string count = graph.Node("CumSum", {real, axis}, "positions/count");
  const std::string counted = graph.Node("Mul", {count, real}, "positions/counted");
  return graph.Node("Add", {counted, pad}, "positions/ids");
}

// (B, T, D).
std::string AddEmbeddings(OnnxBuild* build, const Inputs& inputs) {
  OnnxGraph& graph = build->graph;
  const ModelSpec& spec = build->model.spec;
  const auto table = [&](const std::string& name) { return TensorOf(*build, name); };
  at::Tensor positions = table(spec.position_embeddings);
  if (!spec.token_type_embeddings.empty() && inputs.types.empty()) {
    positions = positions.to(at::kFloat).add(table(spec.token_type_embeddings).to(at::kFloat));
  }
  const auto rows = [&](const std::string& name, const at::Tensor& tensor, const std::string& ids,
                        const std::string& output) {
    return graph.Node("Gather", {graph.Tensor(name, tensor), ids}, output);
  };
  const std::string word =
      rows(spec.word_embeddings, table(spec.word_embeddings), inputs.ids, "embeddings/word");
  const std::string position = rows(spec.position_embeddings, positions,
                                    AddPositions(build, inputs.ids), "embeddings/position");
  std::string sum = graph.Node("Sum", {word, position}, "embeddings/sum");
  if (!inputs.types.empty()) {
    const std::string type = rows(spec.token_type_embeddings, table(spec.token_type_embeddings),
                                  inputs.types, "embeddings/type");
    sum = graph.Node("Sum", {sum, type}, "embeddings/sum_of_three");
  }
  return AddNorm(build, spec.embedding_norm, sum, "embeddings/output");
}

// The residual stream after one more sub-layer: (B, T, D).
std::string AddSubLayer(OnnxBuild* build, const OnnxAttentionInputs& attention, size_t index,
                        const std::string& hidden) {
  const SubLayerSpec& sub = build->model.spec.sub_layers[index];
  const bool heads = sub.kind == UnitKind::kHead;
  const std::string scope =
      fmt::format("layer.{}/{}", sub.layer, heads ? "attention" : "feed_forward");
  std::string branch;
  if (sub.units > 0) {
    const std::string inputs =
        heads ? AddAttention(build, attention, index, hidden, scope)
              : AddLinear(build, sub.up, build->model.spec.activation, hidden, scope + "/channels");
    branch = AddProduct(build, sub.output, inputs, scope + "/projected");
  }
  return AddResidual(build, sub, branch, hidden, scope + "/output");
}

// Mean over real tokens, scaled to length 1: (B, D).
std::string AddPooling(OnnxBuild* build, const std::string& mask, const std::string& hidden) {
  OnnxGraph& graph = build->graph;
  const std::string tokens = graph.Integers("pooling/tokens", {1});
  const std::string real = graph.Node("Cast", {mask}, "pooling/real", {kAsNumber});
  const std::string weights =
      graph.Node("Unsqueeze", {real, graph.Integers("pooling/last", {2})}, "pooling/weights");
  const std::string weighted = graph.Node("Mul", {hidden, weights}, "pooling/weighted");
  const OnnxAttribute drop = {"keepdims", int64_t{0}};
  const std::string sum = graph.Node("ReduceSum", {weighted, tokens}, "pooling/sum", {drop});
  const std::string count = graph.Node("ReduceSum", {weights, tokens}, "pooling/count", {drop});
  const std::string mean = graph.Node("Div", {sum, count}, "pooling/mean");
  const std::string length =
      graph.Node("ReduceL2", {mean}, "pooling/length", {{"axes", std::vector<int64_t>{1}}});
  const std::string bounded =
      graph.Node("Max", {length, graph.Number("pooling/least", 1e-12F)}, "pooling/bounded");
  return graph.Node("Div", {mean, bounded}, "sentence_embedding");
}

std::string AddHeadLayers(OnnxBuild* build, std::string x, const std::string& output) {
  const std::vector<HeadLinear>& head = build->model.spec.head;
  for (size_t i = 0; i < head.size(); ++i) {
    const std::string name = i + 1 == head.size() ? output : fmt::format("head.{}/output", i);
    x = AddLinear(build, head[i].name, head[i].activation, x, name);
  }
  return x;
}

void AddSpan(OnnxBuild* build, const std::string& logits, const std::string& name, int64_t index) {
  OnnxGraph& graph = build->graph;
  const std::string column = graph.Integer(name + "/index", index);
  graph.Node("Gather", {logits, column}, name, {{"axis", int64_t{2}}});
  graph.Output({name, OnnxType::kFloat, {"batch", "sequence"}});
}

void AddHead(OnnxBuild* build, const Inputs& inputs, const std::string& hidden) {
  OnnxGraph& graph = build->graph;
  const ModelSpec& spec = build->model.spec;
  if (spec.task == Task::kNone) {
    graph.Node("Identity", {hidden}, "last_hidden_state");
    graph.Output({"last_hidden_state", OnnxType::kFloat, {"batch", "sequence", spec.width}});
    AddPooling(build, inputs.mask, hidden);
    graph.Output({"sentence_embedding", OnnxType::kFloat, {"batch", spec.width}});
  } else if (spec.task == Task::kQuestionAnswering) {
    const std::string logits = AddHeadLayers(build, hidden, "head/spans");
    AddSpan(build, logits, "start_logits", 0);
    AddSpan(build, logits, "end_logits", 1);
  } else {
    const std::string first = graph.Integer("head/first_token", 0);
    const std::string x =
        graph.Node("Gather", {hidden, first}, "head/input", {{"axis", int64_t{1}}});
    AddHeadLayers(build, x, "logits");
    graph.Output({"logits", OnnxType::kFloat, {"batch", spec.labels}});
  }
}

// What the model is, for those who look into the file.
void Describe(OnnxBuild* build) {
  const ModelSpec& spec = build->model.spec;
  nlohmann::json heads = nlohmann::json::array(), channels = nlohmann::json::array();
  for (const SubLayerSpec& sub : spec.sub_layers)
    (sub.kind == UnitKind::kHead ? heads : channels).push_back(sub.units);
  build->graph.metadata = {{"family", spec.family},
                           {"task", TaskName(spec.task)},
                           {"heads", heads.dump()},
                           {"channels", channels.dump()},
                           {"max_tokens", fmt::to_string(spec.max_tokens)}};
  nlohmann::ordered_json widths;
  AddHeadWidths(spec, &widths);
  for (const auto& [name, list] : widths.items()) build->graph.metadata[name] = list.dump();
}

}  // namespace

OnnxGraph MakeOnnxEncoder(const Model& model, OnnxStyle style) {
  Check(model.spec.form == BlockForm::kEncoder, "ONNX: not an encoder");
  OnnxBuild build = {.model = model, .style = style};
  const Inputs inputs = AddInputs(&build);
  const OnnxAttentionInputs attention = AddAttentionInputs(&build, inputs.ids, inputs.mask);
  std::string hidden = AddEmbeddings(&build, inputs);
  for (size_t i = 0; i < model.spec.sub_layers.size(); ++i)
    hidden = AddSubLayer(&build, attention, i, hidden);
  AddHead(&build, inputs, hidden);
  Describe(&build);
  return std::move(build.graph);
}

}  // namespace coppice
