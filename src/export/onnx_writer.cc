#include "export/onnx_writer.h"

#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/version.h"
#include "export/protobuf.h"

namespace coppice {
namespace {

constexpr int64_t kIrVersion = 8;
constexpr int64_t kOpset = 17;
constexpr uint64_t kSmallTensor = 1024;     // bytes; stays in the file, as shapes must
constexpr uint64_t kLargeTensor = 1 << 20;  // bytes
constexpr uint64_t kLargeAlignment = 1 << 16;
constexpr uint64_t kAlignment = 64;

// Field numbers of onnx.proto.
namespace field {
constexpr uint32_t kModelIrVersion = 1, kModelProducer = 2, kModelProducerVersion = 3,
                   kModelGraph = 7, kModelOpset = 8, kModelMetadata = 14;
constexpr uint32_t kOpsetDomain = 1, kOpsetVersion = 2;
constexpr uint32_t kGraphNode = 1, kGraphName = 2, kGraphTensor = 5, kGraphInput = 11,
                   kGraphOutput = 12, kGraphValue = 13;
constexpr uint32_t kNodeInput = 1, kNodeOutput = 2, kNodeName = 3, kNodeOp = 4, kNodeAttribute = 5,
                   kNodeDomain = 7;
constexpr uint32_t kAttributeName = 1, kAttributeFloat = 2, kAttributeInt = 3, kAttributeInts = 8,
                   kAttributeType = 20;
constexpr uint32_t kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorRaw = 9,
                   kTensorExternal = 13, kTensorLocation = 14;
constexpr uint32_t kValueName = 1, kValueType = 2, kTypeTensor = 1, kTypeElement = 1,
                   kTypeShape = 2, kShapeDim = 1, kDimValue = 1, kDimName = 2;
constexpr uint32_t kEntryKey = 1, kEntryValue = 2;
}  // namespace field

// AttributeProto.AttributeType.
constexpr int64_t kFloatAttribute = 1, kIntAttribute = 2, kIntsAttribute = 7;

OnnxType TypeOf(const at::Tensor& tensor) {
  if (tensor.is_floating_point()) return OnnxType::kFloat;
  if (tensor.scalar_type() == at::kInt) return OnnxType::kInt32;
  Check(tensor.scalar_type() == at::kLong, "ONNX: a tensor of a type that is not written");
  return OnnxType::kInt64;
}

uint64_t BytesOf(const at::Tensor& tensor) {
  return static_cast<uint64_t>(tensor.numel()) * (TypeOf(tensor) == OnnxType::kInt64 ? 8 : 4);
}

void WriteData(const at::Tensor& tensor, AtomicFile* file) {
  at::Tensor whole = tensor.detach().cpu();
  if (whole.is_floating_point()) whole = whole.to(at::kFloat);
  whole = whole.contiguous();
  file->Write(whole.const_data_ptr(), whole.nbytes());
}

ProtoMessage Entry(const std::string& key, const std::string& value) {
  ProtoMessage entry;
  entry.Bytes(field::kEntryKey, key);
  entry.Bytes(field::kEntryValue, value);
  return entry;
}

ProtoMessage Encode(const OnnxAttribute& attribute) {
  ProtoMessage message;
  message.Bytes(field::kAttributeName, attribute.name);
  if (const auto* number = std::get_if<float>(&attribute.value)) {
    message.Float(field::kAttributeFloat, *number);
    message.Int(field::kAttributeType, kFloatAttribute);
  } else if (const auto* integer = std::get_if<int64_t>(&attribute.value)) {
    message.Int(field::kAttributeInt, *integer);
    message.Int(field::kAttributeType, kIntAttribute);
  } else {
    message.Ints(field::kAttributeInts, std::get<std::vector<int64_t>>(attribute.value));
    message.Int(field::kAttributeType, kIntsAttribute);
  }
  return message;
}

ProtoMessage Encode(const OnnxNode& node) {
  ProtoMessage message;
  for (const std::string& input : node.inputs) message.Bytes(field::kNodeInput, input);
  for (const std::string& output : node.outputs) message.Bytes(field::kNodeOutput, output);
  message.Bytes(field::kNodeName, node.outputs.front());
  message.Bytes(field::kNodeOp, node.op);
  for (const OnnxAttribute& attribute : node.attributes)
    message.Message(field::kNodeAttribute, Encode(attribute));
  if (!node.domain.empty()) message.Bytes(field::kNodeDomain, node.domain);
  return message;
}

ProtoMessage EncodeValue(const std::string& name, OnnxType element, const ProtoMessage* shape) {
  ProtoMessage tensor, type, message;
  tensor.Int(field::kTypeElement, static_cast<int64_t>(element));
  if (shape != nullptr) tensor.Message(field::kTypeShape, *shape);
  type.Message(field::kTypeTensor, tensor);
  message.Bytes(field::kValueName, name);
  message.Message(field::kValueType, type);
  return message;
}

ProtoMessage Encode(const OnnxValue& value) {
  ProtoMessage shape;
  for (const auto& size : value.shape) {
    ProtoMessage dim;
    if (const auto* number = std::get_if<int64_t>(&size)) {
      dim.Int(field::kDimValue, *number);
    } else {
      dim.Bytes(field::kDimName, std::get<std::string>(size));
    }
    shape.Message(field::kShapeDim, dim);
  }
  return EncodeValue(value.name, value.type, &shape);
}

// onnx's type inference, which quantizers build on, does not know the fused operators; so the file
// says that they give floats.
void EncodeFusedTypes(const OnnxGraph& graph, ProtoMessage* message) {
  for (const OnnxNode& node : graph.nodes()) {
    if (node.domain.empty()) continue;
    for (const std::string& output : node.outputs)
      message->Message(field::kGraphValue, EncodeValue(output, OnnxType::kFloat, nullptr));
  }
}

// Where a tensor's bytes are: in the data file, or after its message's other fields.
struct Placed {
  const OnnxTensor* tensor = nullptr;
  std::optional<uint64_t> offset;  // in the data file
  ProtoMessage head;               // the message without bytes that follow it
  uint64_t length() const { return head.bytes().size() + (offset ? 0 : BytesOf(tensor->tensor)); }
};

ProtoMessage Head(const OnnxTensor& tensor, const std::optional<uint64_t>& offset,
                  const std::string& data_file) {
  ProtoMessage head;
  head.Ints(field::kTensorDims, tensor.tensor.sizes().vec());
  head.Int(field::kTensorType, static_cast<int64_t>(TypeOf(tensor.tensor)));
  head.Bytes(field::kTensorName, tensor.name);
  const uint64_t bytes = BytesOf(tensor.tensor);
  if (offset) {
    constexpr int64_t kExternal = 1;  // TensorProto.DataLocation
    head.Message(field::kTensorExternal, Entry("location", data_file));
    head.Message(field::kTensorExternal, Entry("offset", fmt::to_string(*offset)));
    head.Message(field::kTensorExternal, Entry("length", fmt::to_string(bytes)));
    head.Int(field::kTensorLocation, kExternal);
  } else {
    head.BytesHeader(field::kTensorRaw, bytes);
  }
  return head;
}

std::vector<Placed> Place(const OnnxGraph& graph, const std::string& data_file,
                          uint64_t external_above) {
  uint64_t total = 0;
  for (const OnnxTensor& tensor : graph.tensors()) total += BytesOf(tensor.tensor);
  std::vector<Placed> placed;
  uint64_t end = 0;  // of the data file so far
  for (const OnnxTensor& tensor : graph.tensors()) {
    const uint64_t bytes = BytesOf(tensor.tensor);
    std::optional<uint64_t> offset;
    if (total > external_above && bytes >= kSmallTensor) {
      const uint64_t alignment = bytes >= kLargeTensor ? kLargeAlignment : kAlignment;
      offset = (end + alignment - 1) / alignment * alignment;
      end = *offset + bytes;
    }
    placed.push_back({&tensor, offset, Head(tensor, offset, data_file)});
  }
  return placed;
}

ProtoMessage ModelHead(const OnnxGraph& graph) {
  ProtoMessage model;
  model.Int(field::kModelIrVersion, kIrVersion);
  model.Bytes(field::kModelProducer, "coppice");
  model.Bytes(field::kModelProducerVersion, kVersion);
  std::map<std::string, int64_t> opsets = {{"", kOpset}};
  for (const OnnxNode& node : graph.nodes()) opsets.emplace(node.domain, 1);
  for (const auto& [domain, version] : opsets) {
    ProtoMessage opset;
    opset.Bytes(field::kOpsetDomain, domain);
    opset.Int(field::kOpsetVersion, version);
    model.Message(field::kModelOpset, opset);
  }
  for (const auto& [key, value] : graph.metadata)
    model.Message(field::kModelMetadata, Entry(key, value));
  return model;
}

void WriteExternal(const std::vector<Placed>& placed, const std::filesystem::path& path) {
  AtomicFile file(path);
  uint64_t end = 0;
  for (const Placed& one : placed) {
    if (!one.offset) continue;
    file.Write(std::string(*one.offset - end, '\0'));
    WriteData(one.tensor->tensor, &file);
    end = *one.offset + BytesOf(one.tensor->tensor);
  }
  file.Commit();
}

}  // namespace

void WriteOnnxFile(const OnnxGraph& graph, const std::filesystem::path& path,
                   uint64_t external_above) {
  const std::string data_file = path.filename().string() + "_data";
  const std::vector<Placed> placed = Place(graph, data_file, external_above);
  bool external = false;
  for (const Placed& one : placed) external = external || one.offset;
  if (external) WriteExternal(placed, path.parent_path() / data_file);

  ProtoMessage rest;  // of the graph, but for its tensors
  for (const OnnxNode& node : graph.nodes()) rest.Message(field::kGraphNode, Encode(node));
  rest.Bytes(field::kGraphName, "coppice");
  for (const OnnxValue& input : graph.inputs()) rest.Message(field::kGraphInput, Encode(input));
  for (const OnnxValue& output : graph.outputs()) rest.Message(field::kGraphOutput, Encode(output));
  EncodeFusedTypes(graph, &rest);
  uint64_t length = rest.bytes().size();
  std::vector<ProtoMessage> headers;  // tag and length of each tensor's message
  for (const Placed& one : placed) {
    headers.emplace_back().BytesHeader(field::kGraphTensor, one.length());
    length += headers.back().bytes().size() + one.length();
  }
  ProtoMessage model = ModelHead(graph);
  model.BytesHeader(field::kModelGraph, length);
  AtomicFile file(path);
  file.Write(model.bytes());
  file.Write(rest.bytes());
  for (size_t i = 0; i < placed.size(); ++i) {
    file.Write(headers[i].bytes());
    file.Write(placed[i].head.bytes());
    if (!placed[i].offset) WriteData(placed[i].tensor->tensor, &file);
  }
  file.Commit();
}

}  // namespace coppice
