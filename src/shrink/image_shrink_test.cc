// Pruning models of images: mask gradients against the goldens (autograd), the masked model equals
// the shrunk one, also after writing and reading, and samples that predict every token.
#include <gtest/gtest.h>

#include "calibrate/image_samples.h"
#include "eval/language_model.h"
#include "eval/run_model.h"
#include "export/huggingface.h"
#include "model/image_family.h"
#include "model/image_testing.h"
#include "score/mask_gradients.h"
#include "shrink/shrink.h"
#include "tune/tune.h"

namespace coppice {
namespace {

const Console kQuiet(true);

ImageTokens GoldenImages(const TinyImage& tiny) {
  std::vector<at::Tensor> rows;
  std::vector<int64_t> classes;
  for (const nlohmann::json& one : tiny.cases) {
    rows.push_back(Numbers(one["tokens"]).to(at::kLong));
    classes.push_back(one["class"]);
  }
  return {at::stack(rows), at::tensor(classes, at::kLong)};
}

TEST(ImageSamples, PredictEveryToken) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    const Samples samples = MakeImageSamples(tiny.model.spec, GoldenImages(tiny), {});
    const std::vector<at::Tensor> found = RunModel(tiny.net, samples, kQuiet);
    double loss = 0;
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      EXPECT_EQ(found[i].numel(), tiny.model.spec.max_tokens);
      EXPECT_NEAR(-found[i].mean().item<double>(), tiny.cases[i]["loss"], 1e-5);
      loss += tiny.cases[i]["loss"].get<double>() / static_cast<double>(tiny.cases.size());
    }
    EXPECT_NEAR(Perplexity(found) / std::exp(loss), 1, 1e-5);
  }
}

TEST(ImageSamples, AreDrawnAndCut) {
  const TinyImage tiny("dense");
  const ImageTokens images = GoldenImages(tiny);
  const ModelSpec& spec = tiny.model.spec;
  EXPECT_EQ(MakeImageSamples(spec, images, {.first = 2}).samples.size(), 2u);
  EXPECT_EQ(MakeImageSamples(spec, images, {.first = 9}).samples.size(), 3u);
  EXPECT_EQ(MakeImageSamples(spec, images, {.count = 9}).samples.size(), 3u);
  const Samples drawn = MakeImageSamples(spec, images, {.count = 1, .seed = 4});
  ASSERT_EQ(drawn.samples.size(), 1u);
  EXPECT_GE(drawn.samples[0].encoding.ids[0], spec.vocabulary);
  EXPECT_EQ(drawn.samples[0].tokens(), 16);
  EXPECT_EQ(drawn.samples[0].followed(), 16);
}

TEST(ImageMaskGradients, AreTheGoldenOnes) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    const Samples samples = MakeImageSamples(tiny.model.spec, GoldenImages(tiny), {});
    const MaskGradients found = ComputeMaskGradients(tiny.net, samples, {}, kQuiet);
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
        std::vector<at::Tensor> parts;
        for (size_t j = 0; j < tiny.net.sub_layers.size(); ++j) {
          if (tiny.net.sub_layers[j].kind == kind)
            parts.push_back(found.rows[j][static_cast<int64_t>(i)]);
        }
        const char* key = kind == UnitKind::kHead ? "group_gradient" : "channel_gradient";
        const at::Tensor golden = Numbers(tiny.cases[i][key]);
        EXPECT_LT(MaxDifference(at::cat(parts), golden), 1e-4 * golden.abs().max().item<double>());
      }
    }
  }
}

Plan RandomPlan(const Model& model, uint64_t seed) {
  Random random(seed);
  Plan plan = FullPlan(UnitCounts(model.spec));
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    std::erase_if(plan.kept[i], [&](int64_t) { return random.Uniform() < 0.5; });
    if (i == seed) plan.kept[i].clear();
  }
  return plan;
}

at::Tensor Masked(const TinyImage& tiny, const Plan& plan) {
  std::vector<at::Tensor> masks;
  for (size_t i = 0; i < plan.kept.size(); ++i) {
    const SubLayerSpec& sub = tiny.model.spec.sub_layers[i];
    at::Tensor mask = at::zeros({sub.units});
    for (const int64_t unit : plan.kept[i]) mask[unit] = 1;
    masks.push_back(mask.repeat_interleave(sub.width));
  }
  return Outputs(tiny.net, tiny.Together(),
                 [masks](size_t i, const at::Tensor& x) { return x * masks[i]; });
}

TEST(ImageShrink, EqualsTheMaskedModelAlsoFromDisk) {
  for (const std::string& name : kTinyImageNames) {
    SCOPED_TRACE(name);
    const TinyImage tiny(name);
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Plan plan = RandomPlan(tiny.model, seed);
      const at::Tensor masked = Masked(tiny, plan);
      EXPECT_GT(MaxDifference(Outputs(tiny.net, tiny.Together()), masked), 1e-2);
      const Model smaller = Shrink(tiny.model, plan);
      EXPECT_LT(MaxDifference(Outputs(Bind(smaller, {}), tiny.Together()), masked), 1e-4);
      const TempFolder folder;
      WriteHuggingFace(smaller, folder.path());
      const Model read = LoadModel(folder.path());
      EXPECT_LT(MaxDifference(Outputs(Bind(read, {}), tiny.Together()), masked), 1e-4);
      EXPECT_EQ(ReadFile(folder.path() / "llamagen.py"), LoaderOf(read.spec)->text);
    }
  }
}

TEST(ImageShrink, OfEqualLayersNeedsNoBlock) {
  const TinyImage tiny("dense");
  Plan plan = FullPlan(UnitCounts(tiny.model.spec));
  for (const size_t i : {1u, 3u}) plan.kept[i].resize(32);
  const Model smaller = Shrink(tiny.model, plan);
  EXPECT_FALSE(smaller.config.contains("coppice"));
  EXPECT_EQ(smaller.config["intermediate_size"], 32);
  plan.kept[0].resize(2);
  EXPECT_EQ(Shrink(tiny.model, plan).config["coppice"]["heads"], nlohmann::json({2, 4}));
}

}  // namespace
}  // namespace coppice
