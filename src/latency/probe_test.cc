// Probes of every tiny model: they have the shapes asked for, and run.
#include "latency/probe.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "export/onnx_encoder.h"
#include "latency/run_once.h"
#include "model/forward.h"
#include "shrink/shrink.h"
#include "testdata.h"

namespace coppice {
namespace {

TEST(Probe, WidthsGoFromNoneToAll) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const ModelSpec spec = LoadModel(TinyFolder(name)).spec;
    const ProbeWidths widths = ChooseProbeWidths(spec);
    EXPECT_EQ(widths.layers, spec.layers);
    for (const std::vector<int64_t>* list : {&widths.heads, &widths.channels}) {
      EXPECT_EQ(list->front(), 0);
      EXPECT_EQ(list->back(), spec.sub_layers[list == &widths.heads ? 0 : 1].units);
      EXPECT_EQ(std::adjacent_find(list->begin(), list->end(), std::greater_equal<>()),
                list->end());
    }
  }
}

TEST(Probe, OfLargeModelsHasFewLayers) {
  ModelSpec spec = LoadModel(TinyFolder("bert-classification")).spec;
  spec.layers = 40;
  spec.width = 8192;
  spec.sub_layers[0].units = 64;
  spec.sub_layers[0].width = 128;
  spec.sub_layers[1].units = 4 * 8192;
  EXPECT_EQ(ChooseProbeWidths(spec).layers, 2);
}

TEST(Probe, HasTheShapeAskedForAndRuns) {
  const at::NoGradGuard no_gradients;
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Model model = LoadModel(TinyFolder(name));
    for (const auto& [heads, channels] :
         {std::pair<int64_t, int64_t>{1, 48}, {0, 7}, {2, 0}, {0, 0}}) {
      const Model probe = MakeProbe(model, 1, heads, channels);
      ASSERT_EQ(probe.spec.sub_layers.size(), 2U);
      const Network net = Bind(probe, {});
      EXPECT_EQ(net.sub_layers[0].out.weight.size(1), heads * model.spec.sub_layers[0].width);
      EXPECT_EQ(net.sub_layers[1].out.weight.size(1), channels);
      const Batch batch = RandomBatch(probe.spec, 2, 5, {});
      EXPECT_TRUE(Forward(net, batch).isfinite().all().item<bool>());
      EXPECT_GE(MeasureReading(net, batch), 0);
      if (probe.spec.form == BlockForm::kEncoder) {
        EXPECT_NO_THROW(MakeOnnxEncoder(probe, OnnxStyle::kFused));
      }
    }
    EXPECT_EQ(Bind(MakeEmpty(model), {}).sub_layers.size(), model.spec.sub_layers.size());
  }
}

TEST(Probe, OfAPrunedModelIsMadeOfItsWidestLayers) {
  const Model model = LoadModel(TinyFolder("mpnet-classification"));
  Plan plan = FullPlan(UnitCounts(model.spec));
  plan.kept[0] = {};
  plan.kept[1] = {3, 4, 5};
  const Model pruned = Shrink(model, plan);
  const ProbeWidths widths = ChooseProbeWidths(pruned.spec);
  EXPECT_EQ(widths.heads.back(), model.spec.sub_layers[2].units);
  const Network net = Bind(MakeProbe(pruned, 2, widths.heads.back(), widths.channels.back()), {});
  EXPECT_EQ(net.sub_layers[0].units, widths.heads.back());
  EXPECT_EQ(net.sub_layers[1].units, widths.channels.back());
}

}  // namespace
}  // namespace coppice
