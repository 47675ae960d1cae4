#include "export/onnx_layers.h"

#include <cmath>

#include "core/error.h"

namespace coppice {
namespace {

std::string AddTensor(OnnxBuild* build, const std::string& name) {
  return build->graph.Tensor(name, TensorOf(*build, name));
}

// A number that several nodes read.
std::string Constant(OnnxBuild* build, const std::string& name, double value) {
  return build->graph.Has(name) ? name : build->graph.Number(name, static_cast<float>(value));
}

OnnxAttribute Epsilon(const OnnxBuild& build) {
  return {"epsilon", static_cast<float>(build.model.spec.norm_eps)};
}

// x / 2 * (1 + erf(x / sqrt 2)), in the form that ONNX Runtime knows as Gelu.
std::string AddGelu(OnnxBuild* build, const std::string& x, const std::string& output) {
  OnnxGraph& graph = build->graph;
  std::string y =
      graph.Node("Div", {x, Constant(build, "sqrt_2", std::sqrt(2.0))}, output + "/div");
  y = graph.Node("Erf", {y}, output + "/erf");
  y = graph.Node("Add", {y, Constant(build, "one", 1)}, output + "/add");
  y = graph.Node("Mul", {x, y}, output + "/mul");
  return graph.Node("Mul", {y, Constant(build, "half", 0.5)}, output);
}

// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
std::string AddTanhGelu(OnnxBuild* build, const std::string& x, const std::string& output) {
  OnnxGraph& graph = build->graph;
  std::string y = graph.Node("Pow", {x, Constant(build, "three", 3)}, output + "/pow");
  y = graph.Node("Mul", {y, Constant(build, "gelu_cubic", 0.044715)}, output + "/cubic");
  y = graph.Node("Add", {x, y}, output + "/sum");
  const std::string slope = Constant(build, "gelu_slope", std::sqrt(2 / M_PI));
  y = graph.Node("Mul", {y, slope}, output + "/scaled");
  y = graph.Node("Tanh", {y}, output + "/tanh");
  y = graph.Node("Add", {y, Constant(build, "one", 1)}, output + "/add");
  const std::string half = graph.Node("Mul", {x, Constant(build, "half", 0.5)}, output + "/half");
  return graph.Node("Mul", {half, y}, output);
}

std::string AddActivation(OnnxBuild* build, Activation activation, const std::string& x,
                          const std::string& output) {
  switch (activation) {
    case Activation::kGelu:
      return AddGelu(build, x, output);
    case Activation::kGeluTanh:
      return AddTanhGelu(build, x, output);
    case Activation::kRelu:
      return build->graph.Node("Relu", {x}, output);
    case Activation::kTanh:
      return build->graph.Node("Tanh", {x}, output);
    case Activation::kSilu:
    case Activation::kIdentity:
      break;
  }
  Check(false, "ONNX: an activation that encoders do not have");
  return {};
}

// The operator that adds a bias and activates, if there is one.
std::string FusedActivation(Activation activation) {
  if (activation == Activation::kGelu) return "BiasGelu";
  if (activation == Activation::kGeluTanh) return "FastGelu";
  return {};
}

}  // namespace

const at::Tensor& TensorOf(const OnnxBuild& build, const std::string& name) {
  const auto found = build.model.tensors.find(name);
  Check(found != build.model.tensors.end(), "tensor of the spec is not in the model: " + name);
  return found->second;
}

std::string AddProduct(OnnxBuild* build, const std::string& linear, const std::string& x,
                       const std::string& output) {
  const std::string name = linear + ".weight";
  const std::string weight = build->graph.Tensor(name, TensorOf(*build, name).t());
  return build->graph.Node("MatMul", {x, weight}, output);
}

std::string AddLinear(OnnxBuild* build, const std::string& linear, Activation activation,
                      const std::string& x, const std::string& output) {
  const std::string product = AddProduct(build, linear, x, output + "/product");
  const std::string bias = AddTensor(build, linear + ".bias");
  const std::string fused = FusedActivation(activation);
  if (build->style == OnnxStyle::kFused && !fused.empty())
    return build->graph.FusedNode(fused, {product, bias}, output);
  if (activation == Activation::kIdentity) return build->graph.Node("Add", {product, bias}, output);
  const std::string sum = build->graph.Node("Add", {product, bias}, output + "/linear");
  return AddActivation(build, activation, sum, output);
}

std::string AddNorm(OnnxBuild* build, const std::string& norm, const std::string& x,
                    const std::string& output) {
  return build->graph.Node(
      "LayerNormalization",
      {x, AddTensor(build, norm + ".weight"), AddTensor(build, norm + ".bias")}, output,
      {{"axis", int64_t{-1}}, Epsilon(*build)});
}

std::string AddResidual(OnnxBuild* build, const SubLayerSpec& sub, const std::string& branch,
                        const std::string& hidden, const std::string& output) {
  std::string sum = AddTensor(build, sub.output + ".bias");
  if (!branch.empty()) sum = build->graph.Node("Add", {branch, sum}, output + "/branch");
  // Not Add: ONNX Runtime would make SkipLayerNormalization of it, see the header.
  sum = build->graph.Node("Sum", {sum, hidden}, output + "/sum");
  return AddNorm(build, sub.norm, sum, output);
}

}  // namespace coppice
