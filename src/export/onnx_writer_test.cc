// The file's bytes, read back by an independent reader: field numbers are those of onnx.proto.
#include "export/onnx_writer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "export/onnx_testing.h"
#include "testdata.h"

namespace coppice {
namespace {

// z = the fused node y of x W.
OnnxGraph SmallGraph(const at::Tensor& weight) {
  OnnxGraph graph;
  const std::string x = graph.Input({"x", OnnxType::kInt64, {"batch", 2}});
  const std::string w = graph.Tensor("w", weight);
  const std::string product = graph.Node("MatMul", {x, w}, "product");
  const std::string shape = graph.Integers("shape", {0, -1});
  graph.Node("Reshape", {product, shape}, "flat", {{"allowzero", int64_t{0}}});
  graph.FusedNode("FastGelu", {"flat", ""}, "y",
                  {{"factor", 0.5F}, {"axes", std::vector<int64_t>{1, 2}}});
  graph.Node("Identity", {"y"}, "z");
  graph.Output({"z", OnnxType::kFloat, {"batch", "free"}});
  graph.metadata = {{"task", "none"}};
  return graph;
}

std::string BytesOf(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.contiguous();
  return {static_cast<const char*>(whole.const_data_ptr()), whole.nbytes()};
}

TEST(OnnxFile, HoldsTheGraph) {
  const TempFolder folder;
  const at::Tensor weight = at::arange(6, at::kFloat).view({3, 2}).t();  // (2, 3), not contiguous
  WriteOnnxFile(SmallGraph(weight), folder.path() / "model.onnx");
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"model.onnx"}));

  const ProtoReader model(ReadFile(folder.path() / "model.onnx"));
  EXPECT_EQ(model.Int(1), 8);  // IR version
  EXPECT_EQ(model.Text(2), "coppice");
  ASSERT_EQ(model.Count(8), 2u);
  EXPECT_EQ(model.Message(8, 0).Text(1), "");
  EXPECT_EQ(model.Message(8, 0).Int(2), 17);
  EXPECT_EQ(model.Message(8, 1).Text(1), "com.microsoft");
  EXPECT_EQ(model.Message(8, 1).Int(2), 1);
  EXPECT_EQ(model.Message(14).Text(1), "task");
  EXPECT_EQ(model.Message(14).Text(2), "none");

  const ProtoReader graph = model.Message(7);
  ASSERT_EQ(graph.Count(1), 4u);
  const ProtoReader first = graph.Message(1, 0);
  EXPECT_EQ(first.Text(4), "MatMul");
  EXPECT_EQ(first.Text(1, 0) + first.Text(1, 1), "xw");
  EXPECT_EQ(first.Text(2), "product");
  EXPECT_EQ(first.Count(7), 0u);
  const ProtoReader attribute = graph.Message(1, 1).Message(5);
  EXPECT_EQ(attribute.Text(1), "allowzero");
  EXPECT_EQ(attribute.Int(3), 0);
  EXPECT_EQ(attribute.Int(20), 2);  // INT
  const ProtoReader last = graph.Message(1, 2);
  EXPECT_EQ(last.Text(7), "com.microsoft");
  EXPECT_EQ(last.Text(1, 1), "");
  EXPECT_EQ(last.Message(5, 0).Float(2), 0.5F);
  EXPECT_EQ(last.Message(5, 0).Int(20), 1);  // FLOAT
  EXPECT_EQ(last.Message(5, 1).Ints(8), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(last.Message(5, 1).Int(20), 7);  // INTS

  ASSERT_EQ(graph.Count(5), 2u);
  const ProtoReader stored = graph.Message(5, 0);
  EXPECT_EQ(stored.Text(8), "w");
  EXPECT_EQ(stored.Int(2), 1);  // FLOAT
  EXPECT_EQ(stored.Ints(1), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(stored.Text(9), BytesOf(weight));
  EXPECT_EQ(graph.Message(5, 1).Int(2), 7);  // INT64
  EXPECT_EQ(graph.Message(5, 1).Text(9), BytesOf(at::tensor({0, -1}, at::kLong)));

  const ProtoReader input = graph.Message(11).Message(2).Message(1);
  EXPECT_EQ(graph.Message(11).Text(1), "x");
  EXPECT_EQ(input.Int(1), 7);
  EXPECT_EQ(input.Message(2).Message(1, 0).Text(2), "batch");
  EXPECT_EQ(input.Message(2).Message(1, 1).Int(1), 2);
  EXPECT_EQ(graph.Message(12).Text(1), "z");
  ASSERT_EQ(graph.Count(13), 1u);  // what type inference cannot know
  EXPECT_EQ(graph.Message(13).Text(1), "y");
  EXPECT_EQ(graph.Message(13).Message(2).Message(1).Int(1), 1);
}

TEST(OnnxFile, StoresOtherDtypesAsFloat32) {
  const TempFolder folder;
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kDouble}) {
    const at::Tensor weight = at::arange(6, at::kFloat).view({2, 3});
    WriteOnnxFile(SmallGraph(weight.to(dtype)), folder.path() / "model.onnx");
    const ProtoReader graph = ProtoReader(ReadFile(folder.path() / "model.onnx")).Message(7);
    EXPECT_EQ(graph.Message(5, 0).Int(2), 1);
    EXPECT_EQ(graph.Message(5, 0).Text(9), BytesOf(weight));
  }
}

TEST(OnnxFile, PutsLargeTensorsBesideIt) {
  const TempFolder folder;
  OnnxGraph graph = SmallGraph(at::arange(600, at::kFloat).view({2, 300}));
  const at::Tensor large = at::arange(300000, at::kFloat);
  graph.Tensor("large", large);
  graph.Tensor("last", at::arange(300, at::kLong));
  WriteOnnxFile(graph, folder.path() / "model.onnx", /*external_above=*/1000);
  EXPECT_EQ(folder.Names(), (std::vector<std::string>{"model.onnx", "model.onnx_data"}));
  const std::string data = ReadFile(folder.path() / "model.onnx_data");
  const ProtoReader written = ProtoReader(ReadFile(folder.path() / "model.onnx")).Message(7);
  ASSERT_EQ(written.Count(5), 4u);
  EXPECT_EQ(written.Message(5, 1).Count(13), 0u);  // the small one stays
  size_t end = 0;
  for (const size_t i : {0, 2, 3}) {
    const ProtoReader stored = written.Message(5, i);
    EXPECT_EQ(stored.Count(9), 0u);
    EXPECT_EQ(stored.Int(14), 1);  // EXTERNAL
    std::map<std::string, std::string> entries;
    for (size_t k = 0; k < stored.Count(13); ++k)
      entries[stored.Message(13, k).Text(1)] = stored.Message(13, k).Text(2);
    EXPECT_EQ(entries["location"], "model.onnx_data");
    const size_t offset = std::stoul(entries["offset"]), length = std::stoul(entries["length"]);
    EXPECT_GE(offset, end);
    EXPECT_EQ(offset % (i == 2 ? 65536 : 64), 0u);
    EXPECT_EQ(data.substr(offset, length), BytesOf(graph.tensors()[i].tensor));
    end = offset + length;
  }
  EXPECT_EQ(data.size(), end);
}

TEST(OnnxFile, IsTheSameForTheSameGraph) {
  const TempFolder folder;
  const at::Tensor weight = at::ones({2, 3});
  WriteOnnxFile(SmallGraph(weight), folder.path() / "a.onnx");
  WriteOnnxFile(SmallGraph(weight), folder.path() / "b.onnx");
  EXPECT_EQ(ReadFile(folder.path() / "a.onnx"), ReadFile(folder.path() / "b.onnx"));
}

TEST(OnnxGraph, RefusesANameTwice) {
  OnnxGraph graph;
  graph.Number("one", 1);
  EXPECT_THROW(graph.Number("one", 1), InternalError);
  EXPECT_THROW(graph.Output({"absent", OnnxType::kFloat, {}}), InternalError);
}

}  // namespace
}  // namespace coppice
