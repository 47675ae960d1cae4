// Refits and their measured divergence on tiny models.
#include "score/replacement.h"

#include <gtest/gtest.h>

#include <numeric>

#include "calibrate/samples_testing.h"
#include "model/device.h"
#include "model/divergence.h"
#include "model/forward.h"
#include "score/mask_gradients.h"
#include "score/statistics.h"

namespace coppice {
namespace {

const Console kQuiet(true);

struct Case {
  explicit Case(const std::string& name)
      : net(Bind(LoadModel(TinyFolder(name)), {})), samples(RandomSamples(net.spec, 60, 7)) {
    UseThreads(1);  // many wait for each other more than they help
    const bool none = net.spec.task == Task::kNone;
    gradients = ComputeMaskGradients(
        net, samples,
        {.labels = none ? LabelSource::kModel : LabelSource::kProbe, .curvature = true}, kQuiet);
  }
  Network net;
  Samples samples;
  MaskGradients gradients;
};

std::vector<int64_t> AllUnits(const SubLayer& sub) {
  std::vector<int64_t> all(static_cast<size_t>(sub.units));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

constexpr const char* kModels[] = {"bert-classification", "distilbert-regression", "roberta-base",
                                   "mpnet-question-answering"};

TEST(Curvature, IsThatOfTheUnitInputsHoweverTheyAreBatched) {
  for (const std::string name : {"bert-classification", "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const MaskGradients alone = ComputeMaskGradients(
        one.net, one.samples, {.labels = LabelSource::kProbe, .batch_tokens = 1, .curvature = true},
        kQuiet);
    VisitSubLayers(one.net, one.samples, StatisticsKind::kFull, kQuiet,
                   [&](size_t i, const UnitStatistics& statistics) {
                     const Curvature& curvature = one.gradients.curvatures[i];
                     const double scale = statistics.gram.abs().max().item<double>();
                     EXPECT_EQ(curvature.tokens, statistics.tokens);
                     EXPECT_EQ(curvature.positions, 60);
                     EXPECT_LT(MaxDifference(curvature.gram.Total(), statistics.gram),
                               1e-4 * scale);
                     EXPECT_LT(MaxDifference(curvature.input_sum, statistics.sum), 1e-3);
                     const at::Tensor g = curvature.gradient.Total();
                     const double size = g.abs().max().item<double>();
                     EXPECT_GT(size, 0);
                     EXPECT_LT(MaxDifference(g, alone.curvatures[i].gradient.Total()), 1e-4 * size);
                   });
  }
}

TEST(Replacement, OfNothingChangesNothing) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const Case one(name);
    std::vector<std::vector<Replacement>> replacements;
    for (size_t i = 0; i < one.net.sub_layers.size(); ++i) {
      const SubLayer& sub = one.net.sub_layers[i];
      replacements.push_back(Refit(one.gradients.curvatures[i], sub, {AllUnits(sub)}, 1e-2));
      EXPECT_LT(MaxDifference(replacements.back()[0].out.weight, sub.out.weight), 1e-4);
    }
    for (const std::vector<double>& measured :
         MeasureReplacements(one.net, one.samples, replacements, {}, kQuiet))
      EXPECT_LT(measured[0], 1e-6);
  }
}

TEST(Replacement, IsMeasuredAsTheWholeForwardPassSays) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const Case one(name);
    const size_t index = one.net.sub_layers.size() - 1;
    const SubLayer& sub = one.net.sub_layers[index];
    std::vector<int64_t> kept = AllUnits(sub);
    kept.resize(kept.size() / 2);
    std::vector<std::vector<Replacement>> replacements(one.net.sub_layers.size());
    replacements[index] = Refit(one.gradients.curvatures[index], sub, {kept, {}}, 1e-2);
    const std::vector<double> measured =
        MeasureReplacements(one.net, one.samples, replacements, {}, kQuiet)[index];
    for (size_t k = 0; k < 2; ++k) {
      Network changed = one.net;
      at::Tensor weight = at::zeros_like(sub.out.weight);
      weight.index_copy_(1, replacements[index][k].inputs, replacements[index][k].out.weight);
      changed.sub_layers[index].out = {weight, replacements[index][k].out.bias};
      Divergence expected;
      for (const Batch& batch : MakeBatches(one.samples, one.net.spec, 500, at::kCPU)) {
        expected.Add(DivergenceOf(one.net.spec.task, Forward(one.net, batch),
                                  Forward(changed, batch), batch));
      }
      EXPECT_NEAR(measured[k], expected.mean(), 1e-5 + 1e-3 * expected.mean());
    }
    EXPECT_GT(measured[1], 0);
  }
}

}  // namespace
}  // namespace coppice
