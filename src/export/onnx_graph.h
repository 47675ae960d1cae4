// An ONNX graph as plain values, and the file it becomes.
//
// Values are named by whoever makes them; the builder only refuses a name twice. Tensors are kept
// as they are (views of mapped files, transposed or not) and copied one by one when the file is
// written. Their types in the file are float32, int64 and int32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace coppice {

// Element types, by ONNX's numbers (TensorProto.DataType).
enum class OnnxType : int32_t { kFloat = 1, kInt32 = 6, kInt64 = 7 };

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, float, std::vector<int64_t>> value;
};

struct OnnxNode {
  std::string op;
  std::string domain;               // empty: ONNX's own operators
  std::vector<std::string> inputs;  // an optional one that is absent: ""
  std::vector<std::string> outputs;
  std::vector<OnnxAttribute> attributes;
};

// An input or output of the whole graph. A size that is not a number is a name: free, and the same
// wherever the name is.
struct OnnxValue {
  std::string name;
  OnnxType type = OnnxType::kFloat;
  std::vector<std::variant<int64_t, std::string>> shape;
};

struct OnnxTensor {
  std::string name;
  at::Tensor tensor;  // floating point (written as float32), int64 or int32; any strides
};

class OnnxGraph {
 public:
  // Domain of the operators that ONNX Runtime adds.
  static constexpr const char* kMicrosoft = "com.microsoft";

  // Each returns the name of the value it makes, for the nodes that read it.
  std::string Input(OnnxValue value);
  std::string Tensor(const std::string& name, const at::Tensor& tensor);
  std::string Integers(const std::string& name, const std::vector<int64_t>& values);  // (n)
  std::string Integer(const std::string& name, int64_t value);                        // ()
  std::string Number(const std::string& name, float value);                           // ()
  std::string Node(const std::string& op, std::vector<std::string> inputs,
                   const std::string& output, std::vector<OnnxAttribute> attributes = {});
  // One of ONNX Runtime's own operators, which gives floats.
  std::string FusedNode(const std::string& op, std::vector<std::string> inputs,
                        const std::string& output, std::vector<OnnxAttribute> attributes = {});
  void Output(OnnxValue value);
  bool Has(const std::string& name) const { return names_.contains(name); }

  std::map<std::string, std::string> metadata;  // for people and programs that look at the file

  const std::vector<OnnxNode>& nodes() const { return nodes_; }
  const std::vector<OnnxTensor>& tensors() const { return tensors_; }
  const std::vector<OnnxValue>& inputs() const { return inputs_; }
  const std::vector<OnnxValue>& outputs() const { return outputs_; }

 private:
  std::string Name(const std::string& name);

  std::vector<OnnxNode> nodes_;
  std::vector<OnnxTensor> tensors_;
  std::vector<OnnxValue> inputs_, outputs_;
  std::set<std::string> names_;
};

}  // namespace coppice
