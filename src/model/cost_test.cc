#include "model/cost.h"

#include <gtest/gtest.h>

#include "testdata.h"

namespace coppice {
namespace {

// bert-classification: L = 2, D = 32, H = 4, E = 8, C = 64, V = 112, 64 positions, 3 labels.
constexpr int64_t kHead = 4 * 10 * 32 * 8 + 2 * 10 * 10 * 8;  // at 10 tokens
constexpr int64_t kChannel = 2 * 10 * 32;
constexpr int64_t kHeadParameters = 3 * (8 * 32 + 8) + 32 * 8;
constexpr int64_t kChannelParameters = 32 + 1 + 32;
constexpr int64_t kBlocks = 2 * (4 * kHead + 64 * kChannel);
constexpr int64_t kBlockParameters = 2 * (4 * kHeadParameters + 64 * kChannelParameters);
// Embeddings and their norm; output biases and norms; pooler; classifier.
constexpr int64_t kOtherParameters =
    (112 + 64 + 2) * 32 + 64 + 2 * 2 * (32 + 64) + (32 * 32 + 32) + (3 * 32 + 3);
constexpr int64_t kClassifierMacs = 32 * 32 + 3 * 32;

CostTable Table(CostKind kind, CostScope scope, double tokens = 10) {
  return MakeCostTable(LoadModel(TinyFolder("bert-classification")), kind, scope, tokens);
}

TEST(Cost, UnitsByHand) {
  const CostTable macs = Table(CostKind::kMacs, CostScope::kBlocks);
  EXPECT_EQ(macs.unit, (std::vector<int64_t>{kHead, kChannel, kHead, kChannel}));
  EXPECT_EQ(macs.units, (std::vector<int64_t>{4, 64, 4, 64}));
  EXPECT_EQ(macs.fixed, 0);
  EXPECT_EQ(macs.Dense(), kBlocks);
  const CostTable parameters = Table(CostKind::kParameters, CostScope::kBlocks);
  EXPECT_EQ(parameters.unit[0], kHeadParameters);
  EXPECT_EQ(parameters.unit[1], kChannelParameters);
  EXPECT_EQ(parameters.Dense(), kBlockParameters);
}

TEST(Cost, WholeModelHasAFixedPart) {
  EXPECT_EQ(Table(CostKind::kMacs, CostScope::kModel).fixed, kClassifierMacs);
  EXPECT_EQ(Table(CostKind::kParameters, CostScope::kModel).fixed, kOtherParameters);
}

TEST(Cost, FractionsAreRoundedUpForEveryUnit) {
  const CostTable table = Table(CostKind::kMacs, CostScope::kBlocks, 10.01);
  EXPECT_EQ(table.unit[0], 11854);  // 4 * 10.01 * 256 + 2 * 100.2001 * 8 = 11853.4416
  EXPECT_EQ(table.unit[1], 641);    // 2 * 10.01 * 32 = 640.64
}

TEST(Cost, OfAPlan) {
  const Plan plan = {{{0, 3}, {}, {}, {1, 2, 63}}};
  EXPECT_EQ(Table(CostKind::kMacs, CostScope::kBlocks).Of(plan), 2 * kHead + 3 * kChannel);
  EXPECT_EQ(Table(CostKind::kParameters, CostScope::kModel).Of(plan),
            2 * kHeadParameters + 3 * kChannelParameters + kOtherParameters);
  const CostTable table = Table(CostKind::kMacs, CostScope::kModel);
  EXPECT_EQ(table.Of(FullPlan(table.units)), table.Dense());
  EXPECT_THROW(table.Of({{{0}}}), InternalError);
}

TEST(Cost, SizeOfAModel) {
  const ModelSize size = MeasureSize(LoadModel(TinyFolder("bert-classification")), 10);
  EXPECT_EQ(size.macs_blocks, kBlocks);
  EXPECT_EQ(size.macs, kBlocks + kClassifierMacs);
  EXPECT_EQ(size.parameters_blocks, kBlockParameters);
  EXPECT_EQ(size.parameters, kBlockParameters + kOtherParameters);
  EXPECT_EQ(size.bytes, 4 * size.parameters);
  const ModelSize wide = MeasureSize(LoadModel(TinyFolder("bert-sharded")), 10);
  const ModelSize half = MeasureSize(LoadModel(TinyFolder("bert-float16")), 10);
  EXPECT_EQ(half.parameters, wide.parameters);
  EXPECT_EQ(2 * half.bytes, wide.bytes);
}

TEST(Cost, AnswersAreReadFromEveryToken) {
  const ModelSize size = MeasureSize(LoadModel(TinyFolder("bert-question-answering")), 10);
  EXPECT_EQ(size.macs - size.macs_blocks, 10 * 2 * 16);
}

// A layer's relative bias is a copy of the table that all layers share: it costs no parameters,
// neither in the units nor in the whole, so that a plan's cost and the written model's agree.
TEST(Cost, CopiesOfASharedTableAreNotCounted) {
  const Model model = LoadModel(TinyFolder("mpnet-classification"));
  const CostTable table = MakeCostTable(model, CostKind::kParameters, CostScope::kBlocks, 10);
  EXPECT_EQ(table.unit[0], kHeadParameters);
  int64_t in_file = 0;
  for (const auto& [name, tensor] : StoredTensors(model)) in_file += tensor.numel();
  EXPECT_EQ(MeasureSize(model, 10).parameters, in_file);
  EXPECT_EQ(model.tensors.size(), StoredTensors(model).size() + 2);
}

}  // namespace
}  // namespace coppice
