// Mask gradients of every sample against the goldens of testdata/tiny (autograd in float64),
// against finite differences, and the labels that are drawn from the model.
#include "score/mask_gradients.h"

#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "model/device.h"
#include "tokenize/tokenizer.h"

namespace coppice {
namespace {

using nlohmann::json;

const Console kQuiet(true);

Network BindTiny(const std::string& name, at::ScalarType dtype = at::kFloat) {
  UseThreads(1);  // many wait for each other more than they help
  return Bind(LoadModel(TinyFolder(name)), {at::kCPU, dtype});
}

bool HasGradients(const json& one) { return one.contains("head_gradient"); }

// (units of all layers) of one sample: heads, or channels.
at::Tensor RowOf(const Network& net, const MaskGradients& gradients, UnitKind kind, int64_t row) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    if (net.sub_layers[i].kind == kind) parts.push_back(gradients.rows[i][row]);
  }
  return at::cat(parts);
}

double LargestDifference(const MaskGradients& a, const MaskGradients& b) {
  double largest = 0;
  for (size_t i = 0; i < a.rows.size(); ++i)
    largest = std::max(largest, MaxDifference(a.rows[i], b.rows[i]));
  return largest;
}

double RelativeError(const at::Tensor& found, const at::Tensor& expected) {
  return MaxDifference(found, expected) / expected.abs().max().clamp_min(1e-30).item<double>();
}

// Tokenizers are in a layer that src/model does not see; their goldens are checked here.
TEST(Samples, TokenizersGiveTheGoldenIds) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tokenizer tokenizer = Tokenizer::Load(TinyFolder(name) / "tokenizer.json");
    const json golden = ReadGolden(name);
    for (const json& one : golden["cases"]) {
      std::optional<std::string> pair;
      if (one.contains("text_pair")) pair = one["text_pair"].get<std::string>();
      const Encoding encoding =
          tokenizer.Encode(one["text"].get<std::string>(), pair, golden["max_tokens"]);
      EXPECT_EQ(encoding.ids, one["ids"].get<std::vector<int32_t>>());
      EXPECT_EQ(encoding.type_ids, one["type_ids"].get<std::vector<int32_t>>());
    }
  }
}

TEST(MaskGradients, AreTheGoldenOnesHoweverTheyAreBatched) {
  size_t models = 0;
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const json golden = ReadGolden(name);
    if (!HasGradients(golden["cases"][0])) continue;
    ++models;
    const Network net = BindTiny(name);
    const Samples samples = GoldenSamples(golden, golden["cases"].size());
    const MaskGradients together =
        ComputeMaskGradients(net, samples, {.batch_tokens = 100000}, kQuiet);
    const MaskGradients alone = ComputeMaskGradients(net, samples, {.batch_tokens = 1}, kQuiet);
    double loss = 0, scale = 0;
    for (size_t i = 0; i < golden["cases"].size(); ++i) {
      const json& one = golden["cases"][i];
      loss += one["loss"].get<double>() / static_cast<double>(golden["cases"].size());
      if (!HasGradients(one)) continue;
      for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
        SCOPED_TRACE(UnitName(kind) + " gradients of case " + std::to_string(i));
        const char* key = kind == UnitKind::kHead ? "head_gradient" : "channel_gradient";
        const at::Tensor expected = Numbers(one[key]);
        const at::Tensor found = RowOf(net, together, kind, static_cast<int64_t>(i));
        scale = std::max(scale, expected.abs().max().item<double>());
        EXPECT_LT(MaxDifference(found, expected), 1e-4 * expected.abs().max().item<double>());
      }
    }
    EXPECT_LT(LargestDifference(together, alone), 2e-5 * scale);
    EXPECT_NEAR(together.mean_loss, loss, 1e-5);
    EXPECT_NEAR(alone.mean_loss, loss, 1e-5);
  }
  EXPECT_GE(models, 15u);
}

// A batch on each thread, in one segment and in one for each sub-layer, with curvature and without.
TEST(MaskGradients, SideBySideAreThoseOneAfterTheOther) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const json golden = ReadGolden(name);
    if (!HasGradients(golden["cases"][0])) continue;
    const Network net = BindTiny(name);
    const Samples samples = GoldenSamples(golden, golden["cases"].size());
    const SegmentLimits a_sub_layer_each = {1, 1};
    for (const MaskGradientOptions& options :
         {MaskGradientOptions{.batch_tokens = 1},
          MaskGradientOptions{.batch_tokens = 1, .segments = a_sub_layer_each},
          MaskGradientOptions{.batch_tokens = 1, .curvature = true},
          MaskGradientOptions{
              .batch_tokens = 1, .curvature = true, .segments = a_sub_layer_each}}) {
      UseThreads(1);
      const MaskGradients one = ComputeMaskGradients(net, samples, options, kQuiet);
      UseThreads(3);
      const MaskGradients three = ComputeMaskGradients(net, samples, options, kQuiet);
      UseThreads(1);
      double scale = 0;
      for (const at::Tensor& rows : one.rows)
        if (rows.numel() > 0) scale = std::max(scale, rows.abs().max().item<double>());
      EXPECT_GT(scale, 0);
      EXPECT_LT(LargestDifference(one, three), 2e-5 * scale);
      EXPECT_NEAR(three.mean_loss, one.mean_loss, 1e-6);
      ASSERT_EQ(three.curvatures.size(), one.curvatures.size());
      for (size_t i = 0; i < one.curvatures.size(); ++i) {
        const Curvature &a = one.curvatures[i], &b = three.curvatures[i];
        EXPECT_EQ(a.tokens, b.tokens);
        if (a.tokens == 0) continue;
        EXPECT_LT(RelativeError(b.gram.Total(), a.gram.Total()), 1e-5);
        EXPECT_LT(RelativeError(b.gradient.Total(), a.gradient.Total()), 1e-5);
        EXPECT_LT(RelativeError(b.input_sum, a.input_sum), 1e-5);
      }
    }
  }
}

// Calibration may run in bfloat16: the gradients keep their direction.
TEST(MaskGradients, InBfloat16PointTheSameWay) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const json golden = ReadGolden(name);
    if (!HasGradients(golden["cases"][0])) continue;
    const Network net = BindTiny(name, at::kBFloat16);
    const MaskGradients found = ComputeMaskGradients(net, GoldenSamples(golden, 4), {}, kQuiet);
    for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
      std::vector<at::Tensor> expected, rows;
      for (int64_t i = 0; i < 4; ++i) {
        const json& one = golden["cases"][static_cast<size_t>(i)];
        expected.push_back(
            Numbers(one[kind == UnitKind::kHead ? "head_gradient" : "channel_gradient"]));
        rows.push_back(RowOf(net, found, kind, i).to(at::kDouble));
      }
      const double cosine =
          at::cosine_similarity(at::cat(rows), at::cat(expected), 0).item<double>();
      EXPECT_GT(cosine, 0.99) << UnitName(kind);
    }
  }
}

// Without goldens: the gradient of an embedding's loss, by moving one mask at a time.
TEST(MaskGradients, OfAnEmbeddingAreFiniteDifferences) {
  constexpr double kStep = 1e-2;
  for (const std::string name : {"mpnet-base", "bert-base"}) {
    SCOPED_TRACE(name);
    const Network net = BindTiny(name);
    const Samples samples = GoldenSamples(ReadGolden(name), 2);
    const MaskGradients found =
        ComputeMaskGradients(net, samples, {.labels = LabelSource::kModel, .seed = 5}, kQuiet);
    const Batch batch = MakeBatches(samples, net.spec, 1000, at::kCPU).at(0);
    const at::Tensor targets =
        MakeTargets(net.spec, samples, batch, Outputs(net, batch), LabelSource::kModel, 5);
    for (size_t i = 0; i < net.sub_layers.size(); ++i) {
      const SubLayer& sub = net.sub_layers[i];
      for (int64_t unit = 0; unit < sub.units; unit += 3) {
        const auto losses = [&](double mask) {
          const at::Tensor outputs =
              Outputs(net, batch, [&](size_t index, const at::Tensor& inputs) {
                at::Tensor x = inputs.clone();
                if (index == i) x.slice(2, unit * sub.width, (unit + 1) * sub.width).mul_(mask);
                return x;
              });
          return SampleLosses(net.spec.task, outputs, targets).to(at::kDouble);
        };
        const at::Tensor slope = (losses(1 + kStep) - losses(1 - kStep)) / (2 * kStep);
        const at::Tensor rows = at::tensor(batch.samples, at::kLong);
        const at::Tensor gradient = found.rows[i].select(1, unit).index_select(0, rows);
        EXPECT_LT(MaxDifference(gradient, slope), 2e-3) << "sub-layer " << i << " unit " << unit;
      }
    }
    EXPECT_GT(found.rows[0].abs().max().item<double>(), 0.05);
  }
}

TEST(MaskGradients, OfDrawnLabelsDependOnSeedAndSampleOnly) {
  for (const std::string name : {"bert-classification", "distilbert-regression",
                                 "mpnet-question-answering", "roberta-base"}) {
    SCOPED_TRACE(name);
    const Network net = BindTiny(name);
    const json golden = ReadGolden(name);
    const Samples all = GoldenSamples(golden, golden["cases"].size());
    const auto gradients = [&](const Samples& samples, uint64_t seed, int64_t batch_tokens) {
      return ComputeMaskGradients(
          net, samples, {.labels = LabelSource::kModel, .seed = seed, .batch_tokens = batch_tokens},
          kQuiet);
    };
    const MaskGradients first = gradients(all, 1, 100000);
    EXPECT_LT(LargestDifference(first, gradients(all, 1, 1)), 2e-4);
    EXPECT_GT(LargestDifference(first, gradients(all, 2, 100000)), 1e-2);
    const MaskGradients fewer = gradients(GoldenSamples(golden, 3), 1, 100000);
    for (size_t i = 0; i < fewer.rows.size(); ++i)
      EXPECT_LT(MaxDifference(fewer.rows[i], first.rows[i].slice(0, 0, 3)), 2e-4);
  }
}

// Targets of many seeds for one fixed output.
std::vector<at::Tensor> DrawMany(Task task, const at::Tensor& output, int64_t count) {
  ModelSpec spec;
  spec.task = task;
  Batch batch;
  batch.samples = {4};
  std::vector<at::Tensor> drawn;
  for (int64_t seed = 0; seed < count; ++seed) {
    drawn.push_back(
        MakeTargets(spec, {}, batch, output, LabelSource::kModel, static_cast<uint64_t>(seed)));
  }
  return drawn;
}

TEST(DrawnLabels, FollowTheModelsDistribution) {
  constexpr int64_t kDraws = 4000;
  const at::Tensor chances = at::tensor({0.1, 0.6, 0.3}, at::kFloat);
  const at::Tensor classes =
      at::cat(DrawMany(Task::kClassification, chances.log().unsqueeze(0), kDraws));
  EXPECT_LT(MaxDifference(at::bincount(classes, {}, 3).to(at::kDouble) / kDraws, chances), 0.03);

  const at::Tensor values =
      at::cat(DrawMany(Task::kRegression, at::full({1, 1}, 2.5f), kDraws)).to(at::kDouble);
  EXPECT_NEAR(values.mean().item<double>(), 2.5, 0.06);
  EXPECT_NEAR(values.std().item<double>(), 1, 0.05);
}

// Start and end are drawn apart, each from its own softmax; padding is never drawn.
TEST(DrawnLabels, OfAnswersAvoidPadding) {
  constexpr int64_t kDraws = 2000;
  const at::Tensor chances =
      at::tensor({0.2, 0.8, 0.0, 0.7, 0.3, 0.0}, at::kFloat).view({2, 3}).t();
  const at::Tensor drawn =
      at::cat(DrawMany(Task::kQuestionAnswering, chances.log().unsqueeze(0), kDraws));  // (N, 2)
  EXPECT_NEAR(drawn.select(1, 0).to(at::kDouble).mean().item<double>(), 0.8, 0.03);
  EXPECT_NEAR(drawn.select(1, 1).to(at::kDouble).mean().item<double>(), 0.3, 0.03);
  EXPECT_LT(drawn.max().item<int64_t>(), 2);
}

}  // namespace
}  // namespace coppice
