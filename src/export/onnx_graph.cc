#include "export/onnx_graph.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace coppice {

std::string OnnxGraph::Name(const std::string& name) {
  Check(!name.empty() && names_.insert(name).second,
        "ONNX: a value without a name, or a name twice: " + name);
  return name;
}

std::string OnnxGraph::Input(OnnxValue value) {
  inputs_.push_back(std::move(value));
  return Name(inputs_.back().name);
}

std::string OnnxGraph::Tensor(const std::string& name, const at::Tensor& tensor) {
  tensors_.push_back({name, tensor});
  return Name(name);
}

std::string OnnxGraph::Integers(const std::string& name, const std::vector<int64_t>& values) {
  return Tensor(name, at::tensor(values, at::kLong));
}

std::string OnnxGraph::Integer(const std::string& name, int64_t value) {
  return Tensor(name, at::scalar_tensor(value, at::kLong));
}

std::string OnnxGraph::Number(const std::string& name, float value) {
  return Tensor(name, at::scalar_tensor(value, at::kFloat));
}

std::string OnnxGraph::Node(const std::string& op, std::vector<std::string> inputs,
                            const std::string& output, std::vector<OnnxAttribute> attributes) {
  nodes_.push_back({op, "", std::move(inputs), {output}, std::move(attributes)});
  return Name(output);
}

std::string OnnxGraph::FusedNode(const std::string& op, std::vector<std::string> inputs,
                                 const std::string& output, std::vector<OnnxAttribute> attributes) {
  nodes_.push_back({op, kMicrosoft, std::move(inputs), {output}, std::move(attributes)});
  return Name(output);
}

void OnnxGraph::Output(OnnxValue value) {
  Check(Has(value.name), "ONNX: an output that no node makes: " + value.name);
  outputs_.push_back(std::move(value));
}

}  // namespace coppice
