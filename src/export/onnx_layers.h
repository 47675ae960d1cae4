// The pieces of an encoder's graph: products with a model's weights, activations, and the residual
// sum with its norm, each in either style. Weights lie transposed, (in, out), as MatMul reads them,
// under the names that they have in the model.
//
// Styles differ in the operators only. kFused uses those that ONNX Runtime adds (com.microsoft):
// MultiHeadAttention, BiasGelu and FastGelu. Three that might be expected are left out.
// quantize_dynamic of ONNX Runtime loses inputs of two without a word: EmbedLayerNormalization its
// position ids, Attention its relative position bias. SkipLayerNormalization takes a processor
// seven times as long as Sum and LayerNormalization do (bench/HISTORY.md).
#pragma once

#include <string>

#include "export/onnx_graph.h"
#include "model/model.h"

namespace coppice {

enum class OnnxStyle {
  kFused,
  kPlain,  // ONNX's own operators alone
};

// A graph under construction.
struct OnnxBuild {
  const Model& model;
  OnnxStyle style = OnnxStyle::kFused;
  OnnxGraph graph = {};
};

const at::Tensor& TensorOf(const OnnxBuild& build, const std::string& name);

// All take and give names of values; `output` names what is made. x: (..., in).
//
// x W': the product with a linear layer of the model, without its bias.
std::string AddProduct(OnnxBuild* build, const std::string& linear, const std::string& x,
                       const std::string& output);

// Activation of x W' + b.
std::string AddLinear(OnnxBuild* build, const std::string& linear, Activation activation,
                      const std::string& x, const std::string& output);

// The norm of a layer: x to (x - mean) / deviation * weight + bias over the last dimension.
std::string AddNorm(OnnxBuild* build, const std::string& norm, const std::string& x,
                    const std::string& output);

// The norm of hidden + branch + the bias of the branch's projection. An empty `branch`: of a
// sub-layer without units.
std::string AddResidual(OnnxBuild* build, const SubLayerSpec& sub, const std::string& branch,
                        const std::string& hidden, const std::string& output);

}  // namespace coppice
