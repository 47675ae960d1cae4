// Narrower heads, in every family: turning them costs nothing, the turned model with masked numbers
// equals the shrunk model, and it stays so after writing and reading.
#include <gtest/gtest.h>

#include "export/huggingface.h"
#include "model/cost.h"
#include "model/decoder_testing.h"
#include "shrink/narrow_testing.h"

namespace coppice {
namespace {

constexpr double kTolerance = 1e-4;

// A model with what it is run on.
struct Case {
  std::string name;
  Model model;
  Batch batch;
  at::Tensor Run(const Model& other, const UnitObserver& observer = {}) const {
    const at::Tensor output = Outputs(Bind(other, {}), batch, observer);
    return output.masked_fill(output.isinf(), 0);  // padding of answers
  }
};

std::vector<Case> Cases() {
  UseThreads(1);
  std::vector<Case> cases;
  for (const std::string& name : TinyNames()) {
    if (name.find("float16") != std::string::npos) continue;  // rounds what is turned
    Model model = LoadModel(TinyFolder(name));
    const auto golden = ReadGolden(name)["cases"].get<std::vector<nlohmann::json>>();
    Batch batch = GoldenBatch(golden, model.spec.pad_id);
    cases.push_back({name, std::move(model), std::move(batch)});
  }
  for (const std::string& name : TinyDecoderNames()) {
    TinyDecoder tiny(name);
    Batch batch = GoldenBatch(tiny.cases, tiny.model.spec.pad_id);
    cases.push_back({name, std::move(tiny.model), std::move(batch)});
  }
  return cases;
}

TEST(NarrowHeads, TurningThemChangesNothing) {
  for (const Case& one : Cases()) {
    SCOPED_TRACE(one.name);
    Random random(1);
    const Model turned =
        InBasis(one.model, NarrowPlan(one.model.spec), RandomBases(one.model.spec, &random));
    EXPECT_LT(MaxDifference(one.Run(turned), one.Run(one.model)), kTolerance);
    const SubLayerSpec& sub = one.model.spec.sub_layers.back();
    EXPECT_TRUE(
        turned.tensors.at(sub.up + ".weight").is_same(one.model.tensors.at(sub.up + ".weight")));
    const std::string value = one.model.spec.sub_layers[0].value + ".weight";
    EXPECT_GT(MaxDifference(turned.tensors.at(value), one.model.tensors.at(value)), 1e-2);
  }
}

TEST(NarrowHeads, EqualTheMaskedModel) {
  for (const Case& one : Cases()) {
    SCOPED_TRACE(one.name);
    Random random(2);
    Plan plan = NarrowPlan(one.model.spec);
    plan.kept[2] = {0};
    const Model turned = InBasis(one.model, plan, RandomBases(one.model.spec, &random));
    const Model smaller = Shrink(turned, plan);
    const at::Tensor masked = one.Run(WithMaskedKeys(turned, plan), NarrowMasks(turned.spec, plan));
    EXPECT_LT(MaxDifference(one.Run(smaller), masked), kTolerance);
    EXPECT_GT(MaxDifference(one.Run(one.model), masked), 1e-3);  // it does cut something
    for (const CostKind kind : {CostKind::kMacs, CostKind::kParameters}) {
      const CostTable costs = MakeCostTable(one.model, kind, CostScope::kBlocks, 9.3);
      const CostTable after = MakeCostTable(smaller, kind, CostScope::kBlocks, 9.3);
      EXPECT_EQ(costs.Of(plan), after.Dense());
      EXPECT_LT(after.Dense(), costs.Dense());
    }
  }
}

TEST(NarrowHeads, AreTheSameAfterWritingAndReadingAndCanBeCutAgain) {
  for (const Case& one : Cases()) {
    SCOPED_TRACE(one.name);
    const Plan plan = NarrowPlan(one.model.spec);
    const Model smaller = Shrink(one.model, plan);
    const TempFolder folder;
    WriteHuggingFace(smaller, folder.path());
    const Model read = LoadModel(folder.path());
    EXPECT_EQ(read.config, smaller.config);
    for (size_t i = 0; i < plan.kept.size(); ++i) {
      EXPECT_EQ(read.spec.sub_layers[i].width, smaller.spec.sub_layers[i].width);
      EXPECT_EQ(read.spec.sub_layers[i].key_width, smaller.spec.sub_layers[i].key_width);
    }
    EXPECT_LT(MaxDifference(one.Run(read), one.Run(smaller)), 1e-6);

    Plan second = NarrowPlan(read.spec);
    second.kept[2] = {second.kept[2].back()};
    EXPECT_LT(MaxDifference(one.Run(Shrink(read, second)), one.Run(Shrink(one.model, second))),
              1e-6);
  }
}

TEST(NarrowHeads, RefuseWidthsThatAreNotThere) {
  const Model model = LoadModel(TinyFolder("bert-base"));
  Plan plan = FullPlan(UnitCounts(model.spec));
  plan.heads = {{.values = 9}, {}, {}, {}};
  ExpectError(ExitCode::kBadInput, {"\"values\"", "sub-layer 0", "0 to 4", "9"},
              [&] { Shrink(model, plan); });
  plan.heads = {{}, {.values = 1}, {}, {}};
  ExpectError(ExitCode::kBadInput, {"\"values\"", "sub-layer 1"}, [&] { Shrink(model, plan); });
  plan.heads = {{}};
  ExpectError(ExitCode::kBadInput, {"4 sub-layers"}, [&] { Shrink(model, plan); });
}

TEST(NarrowHeads, RefuseHalfAPair) {
  const Model model = LoadModel(TinyDecoderPath("llama3"));
  Plan plan = FullPlan(UnitCounts(model.spec));
  plan.heads.resize(plan.kept.size());
  plan.heads[2].keys = 3;
  ExpectError(ExitCode::kBadInput, {"\"keys\" of sub-layer 2", "even", "3"},
              [&] { Shrink(model, plan); });
}

TEST(NarrowHeads, PlansKeepTheirWidthsInJson) {
  const Plan plan = {{{0, 1}, {3}}, {{.values = 4}, {}}};
  const nlohmann::ordered_json json = PlanToJson(plan);
  EXPECT_EQ(json.dump(), R"({"sub_layers":[[0,1],[3]],"values":[4,0],"keys":[0,0]})");
  EXPECT_EQ(PlanFromJson(json, "x"), plan);
  EXPECT_FALSE(PlanToJson({{{0}}, {{}}}).contains("values"));
  for (const char* bad :
       {R"({"sub_layers": [[0]], "values": 3})", R"({"sub_layers": [[0]], "keys": ["a"]})"})
    ExpectError(ExitCode::kBadInput, {"not a plan"},
                [&] { PlanFromJson(nlohmann::ordered_json::parse(bad), "x"); });
}

}  // namespace
}  // namespace coppice
