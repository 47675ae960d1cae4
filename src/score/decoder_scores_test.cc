// Mask gradients of decoders against the goldens of testdata/tiny-decoders (autograd), and the
// statistics of their unit inputs against inputs gathered one sample at a time.
#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "model/decoder_testing.h"
#include "score/mask_gradients.h"
#include "score/statistics.h"

namespace coppice {
namespace {

using nlohmann::json;

const Console kQuiet(true);

// (units of all layers) of one sample: groups, or channels.
at::Tensor RowOf(const Network& net, const MaskGradients& gradients, UnitKind kind, int64_t row) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    if (net.sub_layers[i].kind == kind) parts.push_back(gradients.rows[i][row]);
  }
  return at::cat(parts);
}

const char* GoldenKey(UnitKind kind) {
  return kind == UnitKind::kHead ? "group_gradient" : "channel_gradient";
}

TEST(DecoderMaskGradients, AreTheGoldenOnesHoweverTheyAreBatched) {
  for (const std::string& name : TinyDecoderNames()) {
    if (name == "deci.gguf") continue;  // has none
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    const Samples samples = GoldenSamples(tiny.golden, tiny.cases.size());
    double loss = 0;
    for (const json& one : tiny.cases)
      loss += one.value("loss", 0.0) / static_cast<double>(tiny.cases.size());
    for (const int64_t batch_tokens : {100000, 1}) {
      const MaskGradients found =
          ComputeMaskGradients(tiny.net, samples, {.batch_tokens = batch_tokens}, kQuiet);
      EXPECT_NEAR(found.mean_loss, loss, 1e-5);
      for (size_t i = 0; i < tiny.cases.size(); ++i) {
        for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
          SCOPED_TRACE(UnitName(kind) + " gradients of case " + std::to_string(i));
          const at::Tensor row = RowOf(tiny.net, found, kind, static_cast<int64_t>(i));
          if (!tiny.cases[i].contains("loss")) {  // one token predicts nothing
            EXPECT_EQ(row.abs().max().item<double>(), 0);
            continue;
          }
          const at::Tensor expected = Numbers(tiny.cases[i][GoldenKey(kind)]);
          EXPECT_LT(MaxDifference(row, expected), 1e-4 * expected.abs().max().item<double>());
        }
      }
    }
  }
}

TEST(DecoderMaskGradients, InBfloat16PointTheSameWay) {
  for (const std::string name : {"llama2", "llama3", "mistral"}) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name, at::kBFloat16);
    const MaskGradients found =
        ComputeMaskGradients(tiny.net, GoldenSamples(tiny.golden, tiny.cases.size()), {}, kQuiet);
    for (const UnitKind kind : {UnitKind::kHead, UnitKind::kChannel}) {
      std::vector<at::Tensor> expected, rows;
      for (size_t i = 1; i < tiny.cases.size(); ++i) {
        expected.push_back(Numbers(tiny.cases[i][GoldenKey(kind)]));
        rows.push_back(RowOf(tiny.net, found, kind, static_cast<int64_t>(i)).to(at::kDouble));
      }
      const double cosine =
          at::cosine_similarity(at::cat(rows), at::cat(expected), 0).item<double>();
      EXPECT_GT(cosine, 0.99) << UnitName(kind);
    }
  }
}

// Layers without units have no gradients and stand in nobody's way.
TEST(DecoderMaskGradients, OfAnEmptyLayerAreNone) {
  const TinyDecoder tiny("deci.gguf");
  const MaskGradients found =
      ComputeMaskGradients(tiny.net, GoldenSamples(tiny.golden, tiny.cases.size()), {}, kQuiet);
  ASSERT_EQ(found.rows.size(), 8u);
  EXPECT_EQ(found.rows[4].numel(), 0);
  for (const size_t i : {0u, 1u, 2u, 3u, 5u, 6u, 7u})
    EXPECT_GT(found.rows[i].slice(0, 1).abs().min().item<double>(), 0) << i;
}

TEST(VisitSubLayers, SumsOverEveryRealToken) {
  for (const std::string name : {"llama3", "deci.gguf"}) {
    SCOPED_TRACE(name);
    const TinyDecoder tiny(name);
    std::vector<std::vector<at::Tensor>> inputs(tiny.net.sub_layers.size());
    int64_t tokens = 0;
    for (const json& one : tiny.cases) {
      tokens += static_cast<int64_t>(one["ids"].size());
      Outputs(tiny.net, GoldenBatch({one}, 0), [&](size_t i, const at::Tensor& x) {
        inputs[i].push_back(x[0].to(at::kDouble));
        return x;
      });
    }
    for (const StatisticsKind kind : {StatisticsKind::kFull, StatisticsKind::kDiagonal}) {
      size_t visited = 0;
      VisitSubLayers(tiny.net, GoldenSamples(tiny.golden, tiny.cases.size()), kind, kQuiet,
                     [&](size_t i, const UnitStatistics& found) {
                       EXPECT_EQ(i, visited++);
                       const at::Tensor x = at::cat(inputs[i]);  // (M, I)
                       const at::Tensor gram = at::mm(x.t(), x);
                       const double bound = x.numel() > 0 ? 1e-6 * gram.max().item<double>() : 1;
                       EXPECT_EQ(found.tokens, tokens);
                       EXPECT_LT(MaxDifference(found.sum, x.sum(0)), 1e-4);
                       EXPECT_LT(MaxDifference(found.squares, gram.diagonal()), bound);
                       ASSERT_EQ(found.gram.defined(), kind == StatisticsKind::kFull);
                       if (found.gram.defined()) {
                         EXPECT_LT(MaxDifference(found.gram, gram), bound);
                       }
                     });
      EXPECT_EQ(visited, tiny.net.sub_layers.size());
    }
  }
}

// Of batches that go through a sub-layer on three threads, summed up in their order.
TEST(VisitSubLayers, GivesTheSameWithMoreThreads) {
  const TinyDecoder tiny("llama3");
  const Samples samples = RandomSamples(tiny.net.spec, 300, 1);
  ASSERT_GT(samples.tokens(), 4 * UsualBatchTokens(at::kCPU));
  std::vector<UnitStatistics> of_one;
  VisitSubLayers(tiny.net, samples, StatisticsKind::kFull, kQuiet,
                 [&](size_t, const UnitStatistics& found) { of_one.push_back(found); });
  UseThreads(3);
  VisitSubLayers(tiny.net, samples, StatisticsKind::kFull, kQuiet,
                 [&](size_t i, const UnitStatistics& found) {
                   const UnitStatistics& one = of_one[i];
                   const double scale = one.squares.max().item<double>();
                   EXPECT_EQ(found.tokens, one.tokens);
                   EXPECT_LT(MaxDifference(found.sum, one.sum), 1e-6 * scale);
                   EXPECT_LT(MaxDifference(found.gram, one.gram), 1e-6 * scale);
                 });
  UseThreads(1);
}

}  // namespace
}  // namespace coppice
