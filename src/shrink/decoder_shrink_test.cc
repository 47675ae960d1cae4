// The contract of shrinking for decoders: the dense model with masked units equals the shrunk
// model, also after writing and reading; uniform shapes are written in the family's own keys.
#include <gtest/gtest.h>

#include "export/huggingface.h"
#include "model/decoder_testing.h"
#include "shrink/shrink.h"
#include "tune/tune.h"

namespace coppice {
namespace {

constexpr double kTolerance = 1e-4;

// Half of the units or so; the channels of layer 0 and the KV groups of layer 1 lose all.
Plan RandomPlan(const Model& model, uint64_t seed) {
  Random random(seed);
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    std::erase_if(plan.kept[i], [&](int64_t) { return random.Uniform() < 0.5; });
    if (i == 1 || i == 2) plan.kept[i].clear();
  }
  if (plan.kept[0].empty()) plan.kept[0] = {1};
  return plan;
}

// The same share of every layer.
Plan UniformPlan(const Model& model) {
  Plan plan;
  for (const int64_t units : UnitCounts(model.spec)) {
    plan.kept.emplace_back();
    for (int64_t unit = units % 2; unit < units; unit += 2) plan.kept.back().push_back(unit);
  }
  return plan;
}

UnitObserver Masks(const Model& model, const Plan& plan) {
  std::vector<at::Tensor> masks;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const SubLayerSpec& sub = model.spec.sub_layers[i];
    at::Tensor mask = at::zeros({sub.units});
    for (const int64_t unit : plan.kept[i]) mask[unit] = 1;
    masks.push_back(mask.repeat_interleave(sub.width));
  }
  return [masks](size_t i, const at::Tensor& x) { return x * masks[i]; };
}

TEST(DecoderShrink, EqualsTheMaskedDenseModel) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Plan plan = seed == 3 ? UniformPlan(tiny.model) : RandomPlan(tiny.model, seed);
      const Model smaller = Shrink(tiny.model, plan);
      const at::Tensor masked = tiny.Logits(tiny.model, Masks(tiny.model, plan));
      EXPECT_LT(MaxDifference(tiny.Logits(smaller), masked), kTolerance);
      EXPECT_GT(MaxDifference(tiny.Logits(tiny.model), masked), 1e-2);  // it does cut something
      for (size_t i = 0; i < plan.kept.size(); ++i)
        EXPECT_EQ(smaller.spec.sub_layers[i].units, static_cast<int64_t>(plan.kept[i].size()));
    }
  }
}

TEST(DecoderShrink, OfEverythingButOneUnitRuns) {
  const TinyDecoder tiny("llama3");
  for (const size_t left : {0u, 1u, 2u, 3u}) {
    Plan plan{std::vector<std::vector<int64_t>>(4)};
    plan.kept[left] = {1};
    EXPECT_LT(MaxDifference(tiny.Logits(Shrink(tiny.model, plan)),
                            tiny.Logits(tiny.model, Masks(tiny.model, plan))),
              kTolerance);
  }
}

void ExpectSameTensors(const Model& a, const Model& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    EXPECT_EQ(tensor.scalar_type(), b.tensors.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, b.tensors.at(name))) << name;
  }
}

TEST(DecoderShrink, IsTheSameAfterWritingAndReadingAndCanBeCutAgain) {
  for (const std::string& name : TinyDecoderNames()) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    for (const Plan& plan : {RandomPlan(tiny.model, 8), UniformPlan(tiny.model)}) {
      const Model smaller = Shrink(tiny.model, plan);
      const TempFolder folder;
      WriteHuggingFace(smaller, folder.path());
      const Model read = LoadModel(folder.path());
      EXPECT_EQ(read.config, smaller.config);
      EXPECT_EQ(UnitCounts(read.spec), UnitCounts(smaller.spec));
      EXPECT_EQ(read.spec.rotary.frequencies, smaller.spec.rotary.frequencies);
      ExpectSameTensors(read, smaller);
      EXPECT_LT(MaxDifference(tiny.Logits(read), tiny.Logits(smaller)), 1e-5);
      Plan second = FullPlan(UnitCounts(read.spec));
      for (std::vector<int64_t>& kept : second.kept)
        std::erase_if(kept, [](int64_t unit) { return unit % 2 == 1; });
      const at::Tensor masked = tiny.Logits(smaller, Masks(smaller, second));
      EXPECT_LT(MaxDifference(tiny.Logits(Shrink(read, second)), masked), kTolerance);
    }
  }
}

// Stock model classes load it: no key of ours.
TEST(DecoderShrink, OfTheSameShapeEverywhereUsesTheFamilysKeys) {
  for (const std::string& name : TinyDecoderNames()) {
    if (name == "deci.gguf") continue;  // had other shapes from the start
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Model smaller = Shrink(tiny.model, UniformPlan(tiny.model));
    const int64_t groups = tiny.golden["groups"].get<int64_t>() / 2;
    EXPECT_FALSE(smaller.config.contains("coppice"));
    EXPECT_EQ(smaller.config["num_key_value_heads"], groups);
    EXPECT_EQ(smaller.config["num_attention_heads"],
              groups * tiny.golden["queries"].get<int64_t>());
    EXPECT_EQ(smaller.config["intermediate_size"], 24);
    EXPECT_EQ(smaller.config["head_dim"], tiny.model.spec.head_width);
    EXPECT_EQ(smaller.config["hidden_size"], 32);
    const Model other = Shrink(tiny.model, RandomPlan(tiny.model, 3));
    ASSERT_TRUE(other.config.contains("coppice"));
    EXPECT_EQ(other.config["coppice"]["heads"][1], 0);
    EXPECT_EQ(other.config["coppice"]["channels"][0], 0);
    EXPECT_EQ(other.config["num_key_value_heads"], tiny.golden["groups"]);
  }
}

// A repair gives an output projection a bias that it did not have: it is run, written and said in
// the config.
TEST(DecoderShrink, KeepsABiasThatARepairAdds) {
  const TinyDecoder tiny("llama3");
  const Model smaller = Shrink(tiny.model, RandomPlan(tiny.model, 4));
  Random random(5);
  std::map<std::string, at::Tensor> biases;
  for (const SubLayerSpec& sub : smaller.spec.sub_layers)
    biases[sub.output + ".bias"] = RandomTensor({32}, &random);
  const Model repaired = WithTensors(smaller, biases);
  EXPECT_EQ(repaired.config["attention_bias"], true);
  EXPECT_EQ(repaired.config["mlp_bias"], true);
  EXPECT_GT(MaxDifference(tiny.Logits(repaired), tiny.Logits(smaller)), 0.1);
  const TempFolder folder;
  WriteHuggingFace(repaired, folder.path());
  const Model read = LoadModel(folder.path());
  EXPECT_LT(MaxDifference(tiny.Logits(read), tiny.Logits(repaired)), 1e-5);
  // The first sub-layer's bias moves every token's stream alike.
  const at::Tensor& bias = biases.at(smaller.spec.sub_layers[0].output + ".bias");
  const Network with = Bind(repaired, {}), without = Bind(smaller, {});
  const at::Tensor x = RandomTensor({1, 3, smaller.spec.sub_layers[0].units * 16}, &random);
  EXPECT_LT(MaxDifference(Project(with.sub_layers[0], x) - Project(without.sub_layers[0], x),
                          bias.expand({1, 3, 32})),
            1e-5);
}

}  // namespace
}  // namespace coppice
