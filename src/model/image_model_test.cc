// Models of image tokens against the goldens of testdata/tiny-images: logits, images drawn with
// given random numbers, what files hold, and what is refused.
#include <gtest/gtest.h>

#include "load/safetensors.h"
#include "model/cost.h"
#include "model/image_family.h"
#include "model/image_testing.h"

namespace coppice {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

TEST(TinyImage, LoadsAsTheGoldenSays) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    const ModelSpec& spec = tiny.model.spec;
    EXPECT_EQ(spec.family, "llamagen");
    EXPECT_EQ(spec.task, Task::kLanguageModel);
    EXPECT_EQ(spec.image.classes, 5);
    EXPECT_EQ(spec.max_tokens, spec.image.grid * spec.image.grid);
    for (size_t i = 0; i < spec.sub_layers.size(); ++i) {
      const SubLayerSpec& sub = spec.sub_layers[i];
      const bool attention = sub.kind == UnitKind::kHead;
      EXPECT_EQ(sub.units, tiny.golden[attention ? "groups" : "channels"][i / 2]);
      EXPECT_EQ(sub.queries, attention && name == "groups" ? 2 : 1);
    }
  }
}

TEST(TinyImage, GivesTheGoldenLogits) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    const at::Tensor logits = Outputs(tiny.net, tiny.Together());
    const TinyImage coarse(name, at::kBFloat16);
    const at::Tensor near = Outputs(coarse.net, tiny.Together());
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      const at::Tensor golden = Matrix(tiny.cases[i]["logits"]);
      const auto row = static_cast<int64_t>(i);
      EXPECT_LT(MaxDifference(logits[row], golden), 1e-4);
      EXPECT_LT((near[row] - golden).square().mean().sqrt().item<double>(), 0.1);
    }
  }
}

TEST(SampleImages, DrawsTheGoldenTokensInAnyBatch) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    for (const json& one : tiny.golden["samplings"]) {
      const ImageSampling sampling = {one["guidance"], one["temperature"], one["top_k"]};
      const at::Tensor classes = at::tensor(one["classes"].get<std::vector<int64_t>>(), at::kLong);
      const at::Tensor uniforms = Matrix(one["uniforms"]);
      const at::Tensor golden = Matrix(one["tokens"]).to(at::kLong);
      EXPECT_TRUE(at::equal(SampleImages(tiny.net, classes, uniforms, sampling), golden));
      const at::Tensor last =
          SampleImages(tiny.net, classes.slice(0, -1), uniforms.slice(0, -1), sampling);
      EXPECT_TRUE(at::equal(last, golden.slice(0, -1)));
    }
  }
}

// Without temperature there is but one image, and k = 1 is the same; a null class of its own would
// show here, since guidance from a class to itself changes nothing.
TEST(SampleImages, LimitsAgree) {
  const TinyImage tiny("dense");
  const at::Tensor null = at::full({2}, tiny.model.spec.image.classes, at::kLong);
  const at::Tensor uniforms = at::full({2, 16}, 0.7, at::kDouble);
  const at::Tensor cold = SampleImages(tiny.net, null, uniforms, {.temperature = 1e-6});
  EXPECT_TRUE(at::equal(cold, SampleImages(tiny.net, null, uniforms, {.top_k = 1})));
  EXPECT_TRUE(at::equal(SampleImages(tiny.net, null, uniforms, {.guidance = 3}),
                        SampleImages(tiny.net, null, uniforms, {})));
}

TEST(TinyImage, StoresTheTensorsOfTheFile) {
  for (const std::string& name : kTinyImageNames) {
    const TinyImage tiny(name);
    const SafetensorsFile file = SafetensorsFile::Open(TinyImagePath(name) / "model.safetensors");
    const std::map<std::string, at::Tensor> stored = StoredTensors(tiny.model);
    ASSERT_EQ(stored.size(), file.tensors().size());
    int64_t parameters = 0;
    for (const auto& [tensor_name, tensor] : stored) {
      EXPECT_TRUE(at::equal(tensor, file.Get(tensor_name))) << tensor_name;
      parameters += tensor.numel();
    }
    EXPECT_EQ(MeasureSize(tiny.model, 16).parameters, parameters);
  }
}

class ImageRefusal : public testing::Test {
 protected:
  // The tiny model's spec with another config.
  void Make(const std::function<void(ordered_json*)>& change,
            const std::function<void(std::map<std::string, at::Tensor>*)>& cut = {}) const {
    ordered_json config = ordered_json::parse(ReadFile(TinyImagePath("dense") / "config.json"));
    const SafetensorsFile file =
        SafetensorsFile::Open(TinyImagePath("dense") / "model.safetensors");
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, info] : file.tensors()) tensors.emplace(name, file.Get(name));
    change(&config);
    if (cut) cut(&tensors);
    MakeSpec(config, &tensors, "here");
  }
};

TEST_F(ImageRefusal, OfAConfigThatLacksAKeyNamesIt) {
  for (const std::string key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                "intermediate_size", "vocab_size", "num_classes", "grid"}) {
    SCOPED_TRACE(key);
    ExpectError(ExitCode::kBadInput, {key, "here/config.json"},
                [&] { Make([&](ordered_json* config) { config->erase(key); }); });
  }
}

TEST_F(ImageRefusal, OfNumbersThatDoNotFit) {
  const auto refused = [&](const char* key, const ordered_json& value,
                           const std::vector<std::string>& parts) {
    ExpectError(ExitCode::kBadInput, parts,
                [&] { Make([&](ordered_json* config) { (*config)[key] = value; }); });
  };
  refused("grid", {4, 5}, {"the grid is not square", "[4,5]"});
  refused("grid", {4, 4}, {"bad \"grid\"", "one integer"});
  refused("grid", 0, {"grid"});
  refused("num_attention_heads", 3, {"num_key_value_heads", "1 to 3"});
  refused("num_attention_heads", 16, {"head counts"});
  refused("num_key_value_heads", 3, {"head counts"});
  refused("rope_theta", -1, {"rope_theta"});
  refused("rms_norm_eps", 0, {"rms_norm_eps"});
  refused("num_classes", 7, {"cls_embedding", "[8, 32]", "[6, 32]"});
  refused("intermediate_size", 40, {"w1", "[40, 32]"});
  refused("num_key_value_heads", 2, {"wqkv", "[64, 32]"});
}

TEST_F(ImageRefusal, OfTensors) {
  using Tensors = std::map<std::string, at::Tensor>;
  const auto refused = [&](const std::function<void(Tensors*)>& change,
                           const std::vector<std::string>& parts) {
    ExpectError(ExitCode::kBadInput, parts, [&] { Make([](ordered_json*) {}, change); });
  };
  refused([](Tensors* t) { t->erase("layers.1.attention.wqkv.weight"); },
          {"missing", "layers.1.attention.wqkv.weight"});
  refused([](Tensors* t) { t->emplace("layers.0.attention.wq.weight", at::ones({1})); },
          {"twice", "wq.weight"});
  refused([](Tensors* t) { t->emplace("freqs_cis", at::ones({1})); }, {"not known", "freqs_cis"});
}

}  // namespace
}  // namespace coppice
