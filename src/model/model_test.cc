// The forward pass against the goldens of testdata/tiny: transformers in float64.
#include <gtest/gtest.h>

#include "model/device.h"
#include "model/model_testing.h"
#include "model/network.h"

namespace coppice {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-5;

std::vector<json> Cases(const json& golden) { return golden["cases"].get<std::vector<json>>(); }

struct Tiny {
  explicit Tiny(const std::string& name, at::ScalarType dtype = at::kFloat)
      : model(LoadModel(TinyFolder(name))),
        net(Bind(model, {at::kCPU, dtype})),
        cases(Cases(ReadGolden(name))) {
    UseThreads(1);  // many wait for each other more than they help
  }
  Model model;
  Network net;
  std::vector<json> cases;
};

TEST(TinyModel, LoadsAsTheGoldenSaysAndAllAreThere) {
  ASSERT_GE(TinyNames().size(), 19u);
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const json golden = ReadGolden(name);
    const ModelSpec spec = LoadModel(TinyFolder(name)).spec;
    EXPECT_EQ(spec.family, name.substr(0, name.find('-')));
    const std::string task = golden["task"];
    EXPECT_EQ(spec.task, task == "classification"       ? Task::kClassification
                         : task == "regression"         ? Task::kRegression
                         : task == "question-answering" ? Task::kQuestionAnswering
                                                        : Task::kNone);
    EXPECT_EQ(spec.layers, golden["layers"]);
    EXPECT_EQ(spec.max_tokens, golden["max_tokens"]);
    ASSERT_EQ(spec.sub_layers.size(), 2 * static_cast<size_t>(spec.layers));
    for (const SubLayerSpec& sub : spec.sub_layers)
      EXPECT_EQ(sub.units, golden[sub.kind == UnitKind::kHead ? "heads" : "channels"]);
  }
}

TEST(TinyModel, GivesTheGoldenOutputAloneAndPadded) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    const at::Tensor together = Outputs(tiny.net, GoldenBatch(tiny.cases, tiny.net.spec.pad_id));
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      SCOPED_TRACE(tiny.cases[i]["text"]);
      const at::Tensor golden = GoldenOutput(tiny.cases[i]);
      const at::Tensor alone =
          Outputs(tiny.net, GoldenBatch({tiny.cases[i]}, tiny.net.spec.pad_id));
      const at::Tensor padded = OutputLike(golden, together, static_cast<int64_t>(i));
      EXPECT_LT(MaxDifference(OutputLike(golden, alone, 0), golden), kTolerance);
      EXPECT_LT(MaxDifference(padded, golden), kTolerance);
      EXPECT_LT(MaxDifference(padded, OutputLike(golden, alone, 0)), 3e-6);
    }
  }
}

// Large matrices with one input stay apart, as they are in the file.
TEST(TinyModel, GivesTheSameWithMatricesApart) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    Compute apart = tiny.net.compute;
    apart.joined_bytes = 0;
    const Network net = Bind(tiny.model, apart);
    EXPECT_EQ(net.sub_layers[0].in.size(), 3u);
    EXPECT_EQ(tiny.net.sub_layers[0].in.size(), 1u);
    const at::Tensor& query =
        tiny.model.tensors.at(tiny.model.spec.sub_layers[0].query + ".weight");
    if (query.scalar_type() == at::kFloat) {  // viewed, not copied
      EXPECT_EQ(net.sub_layers[0].in[0].weight.data_ptr(), query.data_ptr());
    }
    const Batch batch = GoldenBatch(tiny.cases, net.spec.pad_id);
    EXPECT_LT(
        MaxDifference(Outputs(net, batch).nan_to_num(), Outputs(tiny.net, batch).nan_to_num()),
        1e-6);
  }
}

TEST(TinyModel, PaddingIsNeverAnAnswer) {
  const Tiny tiny("bert-question-answering");
  const Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
  ASSERT_TRUE(batch.padded);
  const at::Tensor padding = Outputs(tiny.net, batch).index({batch.mask.logical_not()});
  EXPECT_TRUE(padding.eq(-INFINITY).all().item<bool>());
}

// What stands under a padded position, and how far padding reaches, must not matter.
TEST(TinyModel, DoesNotReadPadding) {
  for (const std::string name : {"bert-base", "mpnet-base", "distilbert-classification"}) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
    const at::Tensor before = Outputs(tiny.net, batch);
    batch.type_ids.masked_fill_(batch.mask.logical_not(), 1);
    batch.ids.masked_fill_(batch.mask.logical_not(), 7);
    EXPECT_LT(MaxDifference(Outputs(tiny.net, batch), before), 1e-6);
  }
}

TEST(TinyModel, StepsGiveTheGoldenHiddenStates) {
  for (const std::string name : {"bert-base", "distilbert-base", "mpnet-base", "roberta-base"}) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    at::NoGradGuard no_gradients;
    for (const json& one : tiny.cases) {
      const Batch batch = GoldenBatch({one}, tiny.net.spec.pad_id);
      const AttentionContext context = MakeContext(tiny.net, batch);
      at::Tensor hidden = Embed(tiny.net, batch);
      for (const SubLayer& sub : tiny.net.sub_layers) {
        const at::Tensor inputs = UnitInputs(tiny.net, sub, hidden, context);
        EXPECT_EQ(inputs.size(2), sub.units * sub.width);
        hidden = AddBranch(tiny.net, sub, hidden, Project(sub, inputs));
      }
      for (size_t t = 0; t < one["hidden"].size(); ++t) {
        const at::Tensor golden = Numbers(one["hidden"][t]);
        const at::Tensor row = hidden[0][static_cast<int64_t>(t)];
        EXPECT_LT(MaxDifference(row.slice(0, 0, golden.size(0)), golden), kTolerance);
        EXPECT_NEAR(row.sum().item<double>(), one["hidden_sum"][t].get<double>(), 5e-5);
      }
      EXPECT_LT(MaxDifference(ApplyHead(tiny.net, hidden, batch), Outputs(tiny.net, batch)), 1e-7);
    }
  }
}

// Rows of real tokens alone go through sub-layers as padded ones do.
TEST(TinyModel, PackedRowsGiveWhatPaddedOnesGive) {
  at::NoGradGuard no_gradients;
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name);
    const Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
    ASSERT_TRUE(batch.padded);
    const AttentionContext context = MakePackedContext(tiny.net, batch);
    at::Tensor rows = Begin(tiny.net, batch, context).exact;
    EXPECT_EQ(rows.size(0), batch.real.numel());
    for (const SubLayer& sub : tiny.net.sub_layers) {
      const at::Tensor inputs = UnitInputs(tiny.net, sub, rows, context);
      EXPECT_EQ(inputs.size(1), sub.units * sub.width);
      rows = AddBranch(tiny.net, sub, rows, Project(sub, inputs));
    }
    const at::Tensor padded = RunSubLayers(tiny.net, batch);
    EXPECT_LT(MaxDifference(rows, RealRows(batch, padded)), 3e-6);
    // As a device has it whose heads need no padding, for heads that have no kernel.
    AttentionContext without = context;
    without.padding.reset();
    const SubLayer& first = tiny.net.sub_layers[0];
    const at::Tensor start = Begin(tiny.net, batch, context).exact;
    EXPECT_TRUE(UnitInputs(tiny.net, first, start, without)
                    .equal(UnitInputs(tiny.net, first, start, context)));
    const at::Tensor unpacked = Unpacked(context.texts, rows);
    EXPECT_TRUE(unpacked.sizes().equals(padded.sizes()));
    EXPECT_TRUE(Packed(context.texts, unpacked).equal(rows));
    EXPECT_EQ(unpacked.index({batch.mask.logical_not()}).abs().sum().item<double>(), 0);
  }
}

// Against differences of X. ReLU's step at 0 is left out.
TEST(TinyModel, SlopesAreTheChannelsDerivatives) {
  at::NoGradGuard no_gradients;
  const at::Tensor points = at::linspace(-3, 3, 13, at::kDouble) + 0.1;
  Network net;
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kTanh,
        Activation::kSilu, Activation::kIdentity}) {
    SCOPED_TRACE(static_cast<int>(activation));
    net.spec.activation = activation;
    for (const bool gated : {false, true}) {
      std::vector<at::Tensor> z = {points};
      if (gated) z.push_back(points.flip(0) * 2);
      const std::vector<at::Tensor> slopes = ChannelSlopes(net, z);
      ASSERT_EQ(slopes.size(), z.size());
      for (size_t part = 0; part < z.size(); ++part) {
        constexpr double kStep = 1e-5;
        std::vector<at::Tensor> more = z, less = z;
        more[part] = z[part] + kStep;
        less[part] = z[part] - kStep;
        const at::Tensor difference = (Channels(net, more) - Channels(net, less)) / (2 * kStep);
        EXPECT_LT(MaxDifference(slopes[part], difference), 1e-8);
      }
    }
  }
}

TEST(TinyModel, Bfloat16IsNearTheGolden) {
  for (const std::string& name : TinyNames()) {
    SCOPED_TRACE(name);
    const Tiny tiny(name, at::kBFloat16);
    const at::Tensor output = Outputs(tiny.net, GoldenBatch(tiny.cases, tiny.net.spec.pad_id));
    EXPECT_EQ(output.scalar_type(), at::kFloat);
    for (size_t i = 0; i < tiny.cases.size(); ++i) {
      const at::Tensor golden = GoldenOutput(tiny.cases[i]);
      EXPECT_LT(MaxDifference(OutputLike(golden, output, static_cast<int64_t>(i)), golden), 0.1);
    }
  }
}

TEST(Forward, ObserverSeesEverySubLayerAndReplacesItsInputs) {
  const Tiny tiny("roberta-classification");
  const Batch batch = GoldenBatch(tiny.cases, tiny.net.spec.pad_id);
  std::vector<size_t> seen;
  const at::Tensor same = Outputs(tiny.net, batch, [&](size_t i, const at::Tensor& x) {
    seen.push_back(i);
    return x;
  });
  EXPECT_EQ(seen, (std::vector<size_t>{0, 1, 2, 3}));
  EXPECT_EQ(MaxDifference(same, Outputs(tiny.net, batch)), 0);
  for (size_t target = 0; target < 4; ++target) {
    const at::Tensor changed = Outputs(tiny.net, batch, [&](size_t i, const at::Tensor& x) {
      return i == target ? at::zeros_like(x) : x;
    });
    EXPECT_GT(MaxDifference(changed, same), 1e-3) << target;
  }
}

}  // namespace
}  // namespace coppice
