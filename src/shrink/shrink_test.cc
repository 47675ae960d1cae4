// The contract of every family: the dense model with masked units equals the shrunk model, also
// after repair, and also after writing and reading.
#include "shrink/shrink.h"

#include <gtest/gtest.h>

#include <set>

#include "export/huggingface.h"
#include "model/device.h"
#include "model/model_testing.h"
#include "tune/tune.h"

namespace coppice {
namespace {

constexpr double kTolerance = 1e-5;

struct Tiny {
  explicit Tiny(const std::string& name)
      : model(LoadModel(TinyFolder(name))),
        batch(GoldenBatch(ReadGolden(name)["cases"].get<std::vector<nlohmann::json>>(),
                          model.spec.pad_id)) {
    UseThreads(1);  // many wait for each other more than they help
  }
  at::Tensor Run(const Model& other, const UnitObserver& observer = {}) const {
    const at::Tensor output = Outputs(Bind(other, {}), batch, observer);
    return output.masked_fill(output.isinf(), 0);  // padding of answers
  }
  Model model;
  Batch batch;
};

// Half of the units or so; the second sub-layer (channels of layer 0) and the third (heads of layer
// 1) lose all.
Plan RandomPlan(const Model& model, uint64_t seed) {
  Random random(seed);
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    std::erase_if(plan.kept[i], [&](int64_t) { return random.Uniform() < 0.5; });
    if (i == 1 || i == 2) plan.kept[i].clear();
  }
  if (plan.kept[0].empty()) plan.kept[0] = {2};
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

void ExpectSameTensors(const Model& a, const Model& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    EXPECT_EQ(tensor.scalar_type(), b.tensors.at(name).scalar_type()) << name;
    EXPECT_TRUE(at::equal(tensor, b.tensors.at(name))) << name;
  }
}

TEST(Shrink, EqualsTheMaskedDenseModel) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Plan plan = RandomPlan(tiny.model, seed);
      const Model smaller = Shrink(tiny.model, plan);
      const at::Tensor masked = tiny.Run(tiny.model, Masks(tiny.model, plan));
      EXPECT_LT(MaxDifference(tiny.Run(smaller), masked), kTolerance);
      EXPECT_GT(MaxDifference(tiny.Run(tiny.model), masked), 1e-3);  // it does cut something
    }
  }
}

// New output weights and biases for the kept units; in the dense model they stand in the kept
// columns.
TEST(Shrink, EqualsTheMaskedDenseModelAfterRepair) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    Random random(11);
    const Plan plan = RandomPlan(tiny.model, 5);
    const Model smaller = Shrink(tiny.model, plan);
    std::map<std::string, at::Tensor> repaired, scattered;
    for (size_t i = 0; i < plan.kept.size(); ++i) {
      const SubLayerSpec& sub = smaller.spec.sub_layers[i];
      const std::string weight = sub.output + ".weight", bias = sub.output + ".bias";
      repaired[weight] = RandomTensor(smaller.tensors.at(weight).sizes(), &random) * 0.3;
      repaired[bias] = scattered[bias] = RandomTensor({smaller.spec.width}, &random);
      scattered[weight] = tiny.model.tensors.at(weight).to(at::kFloat).clone();
      for (size_t k = 0; k < plan.kept[i].size(); ++k) {
        const auto from = static_cast<int64_t>(k) * sub.width;
        const int64_t to = plan.kept[i][k] * sub.width;
        scattered[weight]
            .slice(1, to, to + sub.width)
            .copy_(repaired[weight].slice(1, from, from + sub.width));
      }
    }
    const at::Tensor dense = tiny.Run(WithTensors(tiny.model, scattered), Masks(tiny.model, plan));
    EXPECT_LT(MaxDifference(tiny.Run(WithTensors(smaller, repaired)), dense), kTolerance);
  }
}

// Written and read it is the same model; cutting that again is cutting both at once. Tensors are
// compared bit for bit, outputs not quite: products may round by where their operands lie in
// memory.
TEST(Shrink, IsTheSameAfterWritingAndReadingAndCanBeCutAgain) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    const Plan first = RandomPlan(tiny.model, 8);
    const Model smaller = Shrink(tiny.model, first);
    const TempFolder folder;
    WriteHuggingFace(smaller, folder.path());
    const Model read = LoadModel(folder.path());
    EXPECT_EQ(read.spec.task, tiny.model.spec.task);
    EXPECT_EQ(read.config, smaller.config);
    EXPECT_EQ(UnitCounts(read.spec), UnitCounts(smaller.spec));
    ExpectSameTensors(read, smaller);
    EXPECT_LT(MaxDifference(tiny.Run(read), tiny.Run(smaller)), 1e-6);

    Plan second = FullPlan(UnitCounts(read.spec));
    Plan both = first;
    for (size_t i = 0; i < both.kept.size(); ++i) {
      std::erase_if(second.kept[i], [](int64_t unit) { return unit % 2 == 1; });
      both.kept[i].clear();
      for (const int64_t unit : second.kept[i])
        both.kept[i].push_back(first.kept[i][static_cast<size_t>(unit)]);
    }
    const Model twice = Shrink(read, second);
    const Model direct = Shrink(tiny.model, both);
    EXPECT_EQ(twice.config, direct.config);
    ExpectSameTensors(twice, direct);
    EXPECT_LT(MaxDifference(tiny.Run(twice), tiny.Run(direct)), 1e-6);
    EXPECT_GT(MaxDifference(tiny.Run(twice), tiny.Run(read)), 1e-4);
  }
}

TEST(Shrink, SharesWhatNoUnitOwnsAndCutsNothingElse) {
  const Model model = LoadModel(TinyFolder("mpnet-classification"));
  const Model smaller = Shrink(model, RandomPlan(model, 9));
  std::set<std::string> owned;
  for (const SubLayerSpec& sub : model.spec.sub_layers) {
    for (const Slice& slice : sub.slices) owned.insert(slice.tensor);
  }
  EXPECT_EQ(owned.size(), 2u * (8 + 3));
  for (const auto& [name, tensor] : model.tensors) {
    const at::Tensor& cut = smaller.tensors.at(name);
    if (owned.count(name) > 0) {
      EXPECT_LT(cut.numel(), tensor.numel()) << name;
    } else {
      EXPECT_EQ(cut.const_data_ptr(), tensor.const_data_ptr()) << name;
    }
  }
}

TEST(Shrink, OfEverythingKeepsTheWeights) {
  const Model model = LoadModel(TinyFolder("bert-base"));
  const Model same = Shrink(model, FullPlan(UnitCounts(model.spec)));
  for (const auto& [name, tensor] : model.tensors)
    EXPECT_EQ(same.tensors.at(name).const_data_ptr(), tensor.const_data_ptr());
}

TEST(Shrink, RefusesAPlanOfAnotherModel) {
  const Model model = LoadModel(TinyFolder("bert-base"));
  for (const Plan& plan : {Plan{{{0}, {0}}}, Plan{{{4}, {}, {}, {}}}, Plan{{{}, {3, 2}, {}, {}}},
                           Plan{{{1, 1}, {}, {}, {}}}, Plan{{{-1}, {}, {}, {}}}, Plan{}}) {
    ExpectError(ExitCode::kBadInput, {"plan"}, [&] { Shrink(model, plan); });
  }
}

TEST(HuggingFace, PassesTheOtherFilesOnUnchanged) {
  const Model model = LoadModel(TinyFolder("roberta-classification"));
  const TempFolder folder;
  WriteHuggingFace(model, folder.path());
  for (const auto& entry : std::filesystem::directory_iterator(model.source)) {
    const std::string name = entry.path().filename().string();
    ASSERT_TRUE(std::filesystem::exists(folder.path() / name)) << name;
    if (name != "config.json" && name != "model.safetensors") {
      EXPECT_EQ(ReadFile(folder.path() / name), ReadFile(entry.path())) << name;
    }
  }
  // A sharded model becomes one file, without the index of the shards.
  const TempFolder joined;
  WriteHuggingFace(LoadModel(TinyFolder("bert-sharded")), joined.path());
  for (const std::string& name : joined.Names()) {
    EXPECT_EQ(name.find("index"), std::string::npos);
    EXPECT_EQ(name.find("-of-"), std::string::npos);
  }
}

}  // namespace
}  // namespace coppice
