// Gradients, curvature and measured levels of a network that streams, segment by segment, against
// those of one that is in memory.
#include "score/segments.h"

#include <gtest/gtest.h>

#include <numeric>

#include "calibrate/samples_testing.h"
#include "model/decoder_testing.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"

namespace coppice {
namespace {

const Console kQuiet(true);

Model LoadTiny(const std::string& name) {
  UseThreads(1);  // many wait for each other more than they help
  const std::filesystem::path decoder = TinyDecoderPath(name);
  return LoadModel(std::filesystem::exists(decoder) ? decoder : TinyFolder(name));
}

constexpr const char* kModels[] = {"llama3",  "deci.gguf",    "bert-classification",
                                   "mistral", "roberta-base", "mpnet-question-answering"};

MaskGradientOptions OptionsFor(const Network& net) {
  MaskGradientOptions options = {.seed = 3, .batch_tokens = 60, .curvature = true};
  const Task task = net.spec.task;
  options.labels = task == Task::kLanguageModel ? LabelSource::kData
                   : task == Task::kNone        ? LabelSource::kModel
                                                : LabelSource::kProbe;
  return options;
}

TEST(Segments, AreAsFewAsTheLimitsAllow) {
  const Network net = Bind(LoadTiny("llama3"), {});
  const SegmentLimits unlimited = {kUnlimited, kUnlimited};
  ASSERT_EQ(MakeSegments(net, 100, unlimited, true).size(), 1u);
  const std::vector<Segment> each = MakeSegments(net, 100, {0, kUnlimited}, false);
  ASSERT_EQ(each.size(), net.sub_layers.size());
  for (size_t k = 0; k < each.size(); ++k) {
    EXPECT_EQ(each[k].begin, k);
    EXPECT_EQ(each[k].end, k + 1);
  }
  EXPECT_EQ(MakeSegments(net, 100, {kUnlimited, 0}, true).size(), net.sub_layers.size());
  EXPECT_EQ(MakeSegments(net, 100, {kUnlimited, 0}, false).size(), 1u);  // no statistics
}

TEST(Segments, GiveTheGradientsAndCurvatureOfOne) {
  for (const std::string name : kModels) {
    SCOPED_TRACE(name);
    const Model model = LoadTiny(name);
    const Network resident = Bind(model, {});
    const Network streamed = Bind(model, {.memory = 0});  // and its streams are in files
    ASSERT_FALSE(resident.streamed);
    ASSERT_TRUE(streamed.streamed);
    const Samples samples = RandomSamples(model.spec, 20, 7);
    MaskGradientOptions options = OptionsFor(resident);
    const MaskGradients expected = ComputeMaskGradients(resident, samples, options, kQuiet);
    options.segments = SegmentLimits{0, 0};
    std::vector<size_t> order;
    VisitMaskGradients(streamed, samples, options, kQuiet, [&](size_t i, SubLayerGradients* one) {
      order.push_back(i);
      EXPECT_NEAR(one->mean_loss, expected.mean_loss, 1e-5);
      const at::Tensor& rows = expected.rows[i];
      const double scale = rows.numel() == 0 ? 0 : rows.abs().max().item<double>();
      EXPECT_LE(MaxDifference(one->rows, rows), 1e-4 * scale) << i;
      if (rows.numel() == 0) return;
      EXPECT_GT(scale, 0);
      const Curvature& curvature = expected.curvatures[i];
      const at::Tensor gram = curvature.gram.Total(), gradient = curvature.gradient.Total();
      EXPECT_LE(MaxDifference(one->curvature.gram.Total(), gram),
                1e-5 * gram.abs().max().item<double>());
      EXPECT_LE(MaxDifference(one->curvature.gradient.Total(), gradient),
                1e-4 * gradient.abs().max().item<double>());
      EXPECT_EQ(one->curvature.positions, curvature.positions);
    });
    std::vector<size_t> descending(resident.sub_layers.size());
    std::iota(descending.rbegin(), descending.rend(), 0);
    EXPECT_EQ(order, descending);
  }
}

TEST(Segments, OfANetworkInBfloat16PointTheSameWay) {
  const Model model = LoadTiny("llama3");
  const Samples samples = RandomSamples(model.spec, 20, 7);
  MaskGradientOptions options = {.batch_tokens = 60};
  const MaskGradients expected = ComputeMaskGradients(Bind(model, {}), samples, options, kQuiet);
  options.segments = SegmentLimits{0, 0};
  const Compute compute = {.dtype = at::kBFloat16, .memory = 0};
  const MaskGradients found = ComputeMaskGradients(Bind(model, compute), samples, options, kQuiet);
  for (size_t i = 0; i < expected.rows.size(); ++i) {
    const double cosine = at::cosine_similarity(found.rows[i].flatten().to(at::kDouble),
                                                expected.rows[i].flatten().to(at::kDouble), 0)
                              .item<double>();
    EXPECT_GT(cosine, 0.99) << i;
  }
}

// Of replacements that are put away, measured together or batch by batch; beside others, too.
TEST(Segments, MeasureTheSameLevels) {
  for (const std::string name : {"llama3", "bert-classification"}) {
    SCOPED_TRACE(name);
    const Model model = LoadTiny(name);
    const Network resident = Bind(model, {}), streamed = Bind(model, {.memory = 0});
    const Samples samples = RandomSamples(model.spec, 20, 7);
    const MaskGradients gradients =
        ComputeMaskGradients(resident, samples, OptionsFor(resident), kQuiet);
    std::vector<std::vector<Replacement>> near, away;
    std::vector<Replacement> cuts, cuts_away;
    for (size_t i = 0; i < resident.sub_layers.size(); ++i) {
      const std::vector<std::vector<int64_t>> kept = {{}, {0}};
      near.push_back(Refit(gradients.curvatures[i], *Fetch(resident, i), kept, 1e-2));
      away.emplace_back();
      for (const Replacement& one : Refit(gradients.curvatures[i], *Fetch(streamed, i), kept, 1e-2))
        away[i].push_back(PutAway(one));
      cuts.push_back(near[i][1]);
      cuts_away.push_back(away[i][1]);
    }
    for (const bool others : {false, true}) {
      const auto expected = MeasureReplacements(resident, samples, near,
                                                others ? cuts : std::vector<Replacement>(), kQuiet);
      const auto found = MeasureReplacements(
          streamed, samples, away, others ? cuts_away : std::vector<Replacement>(), kQuiet);
      for (size_t i = 0; i < expected.size(); ++i) {
        for (size_t k = 0; k < expected[i].size(); ++k)
          EXPECT_NEAR(found[i][k], expected[i][k], 1e-6 + 1e-4 * expected[i][k]) << i;
      }
      EXPECT_GT(expected[0][0], 1e-4);
    }
  }
}

}  // namespace
}  // namespace coppice
