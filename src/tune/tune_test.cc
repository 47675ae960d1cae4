// Repair of tiny models, judged by their outputs on the calibration samples.
#include "tune/tune.h"

#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "model/device.h"
#include "model/forward.h"
#include "shrink/shrink.h"

namespace coppice {
namespace {

const Console kQuiet(true);

// Mean squared difference of a model's outputs to those of `dense`.
double Distance(const Network& dense, const Model& model, const Samples& samples) {
  const Network net = Bind(model, dense.compute);
  double sum = 0, count = 0;
  for (const Batch& batch : MakeBatches(samples, dense.spec, 2000, at::kCPU)) {
    const at::Tensor gap = Outputs(net, batch) - Outputs(dense, batch);
    const at::Tensor finite = gap.masked_select(gap.isfinite());  // padding of answers is -inf
    sum += finite.square().sum().item<double>();
    count += static_cast<double>(finite.numel());
  }
  return sum / count;
}

struct Case {
  explicit Case(const std::string& name)
      : model(LoadModel(TinyFolder(name))),
        dense(Bind(model, {})),
        samples(RandomSamples(model.spec, 150, 3)) {
    UseThreads(1);  // many wait for each other more than they help
  }
  // Drops every third unit or so of each sub-layer.
  Model Pruned() const {
    Plan plan = FullPlan(UnitCounts(model.spec));
    for (auto& kept : plan.kept) std::erase_if(kept, [](int64_t unit) { return unit % 3 == 1; });
    return Shrink(model, plan);
  }
  TuneResult Repaired(const Model& pruned, const TuneOptions& options) const {
    return Tune(dense, pruned, {samples, {}}, options, kQuiet);
  }
  double DistanceAfter(const TuneOptions& options) const {
    const Model pruned = Pruned();
    return Distance(dense, WithTensors(pruned, Repaired(pruned, options).tensors), samples);
  }
  Model model;
  Network dense;
  Samples samples;
};

TEST(Tune, ChangesNothingWhereNothingWasCut) {
  for (const std::string name : {"bert-classification", "mpnet-question-answering"}) {
    for (const Repair repair : {Repair::kBias, Repair::kScales, Repair::kLeastSquares}) {
      SCOPED_TRACE(name + " " + RepairName(repair));
      const Case one(name);
      const TuneResult result = one.Repaired(one.model, {.repair = repair, .tokens_per_input = 1});
      EXPECT_EQ(result.tensors.size(), 8u);
      for (const auto& [tensor, value] : result.tensors)
        EXPECT_LT(MaxDifference(value, one.model.tensors.at(tensor)), 1e-5) << tensor;
    }
  }
}

TEST(Tune, BringsEveryFamilyNearerToTheDenseModel) {
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const double none = Distance(one.dense, one.Pruned(), one.samples);
    const double least_squares =
        one.DistanceAfter({.repair = Repair::kLeastSquares, .tokens_per_input = 1});
    const double scales = one.DistanceAfter({.repair = Repair::kScales});
    EXPECT_GT(none, 1e-4);
    EXPECT_LT(least_squares, 0.5 * none);
    EXPECT_LT(scales, none);
    EXPECT_LT(least_squares, scales);
  }
}

// Mean over real tokens of the residual stream after a sub-layer, before its norm; moves `hidden`
// on.
at::Tensor MeanAfter(const Network& net, size_t index, const Batch& batch,
                     const AttentionContext& context, at::Tensor* hidden) {
  const SubLayer& sub = net.sub_layers[index];
  const at::Tensor branch = Project(sub, UnitInputs(net, sub, *hidden, context));
  const at::Tensor mean = (*hidden + branch).index({batch.mask}).mean(0);
  *hidden = AddBranch(net, sub, *hidden, branch);
  return mean;
}

// The target holds the drift of the layers before, and every repair fits means exactly: after each
// sub-layer the two residual streams have one mean over the real tokens.
TEST(Tune, MakesUpForTheDriftOfEarlierLayers) {
  at::NoGradGuard no_gradients;
  for (const Repair repair : {Repair::kBias, Repair::kScales, Repair::kLeastSquares}) {
    SCOPED_TRACE(RepairName(repair));
    const Case one("mpnet-classification");
    const Model pruned = one.Pruned();
    const TuneResult result =
        one.Repaired(pruned, {.repair = repair, .tokens_per_input = 1, .batch_tokens = 300});
    const Network student = Bind(WithTensors(pruned, result.tensors), {});
    const Batch batch = MakeBatches(one.samples, one.model.spec, 1000000, at::kCPU).at(0);
    ASSERT_TRUE(batch.padded);
    const AttentionContext context = MakeContext(student, batch);
    at::Tensor wanted = Embed(one.dense, batch), found = wanted;
    for (size_t i = 0; i < student.sub_layers.size(); ++i) {
      const at::Tensor mean = MeanAfter(one.dense, i, batch, context, &wanted);
      EXPECT_LT(MaxDifference(MeanAfter(student, i, batch, context, &found), mean), 1e-5) << i;
    }
    EXPECT_GT(MaxDifference(found, wanted), 1e-2);  // the tokens themselves still differ
  }
}

TEST(Tune, RecordsSayWhatHappened) {
  const Case one("bert-classification");
  const Model pruned = one.Pruned();
  const TuneResult result = one.Repaired(pruned, {.tokens_per_input = 1});
  ASSERT_EQ(result.records.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const TuneRecord& record = result.records[i];
    EXPECT_EQ(record.output, pruned.spec.sub_layers[i].output);
    EXPECT_EQ(record.repair, Repair::kLeastSquares);
    EXPECT_GT(record.explained, 0.05);
    EXPECT_LE(record.explained, 1);
    EXPECT_EQ(record.damping, TuneOptions().ridge);
    EXPECT_EQ(record.note, "");
  }
  EXPECT_TRUE(one.Repaired(pruned, {.repair = Repair::kNone}).tensors.empty());
}

// Of few samples some are held out, and nothing is done that does not help there.
TEST(Tune, FewSamplesDoNotMakeAModelWorse) {
  const Case one("bert-classification");
  const Model pruned = one.Pruned();
  for (const int64_t count : {4, 8, 16}) {
    SCOPED_TRACE(count);
    const Samples few = RandomSamples(one.model.spec, count, 9);
    const TuneResult result = Tune(one.dense, pruned, {few, {}}, {}, kQuiet);
    for (const TuneRecord& record : result.records) {
      ASSERT_TRUE(record.held_out.has_value()) << record.output;
      EXPECT_GE(*record.held_out, 0) << record.output;
    }
    EXPECT_LE(Distance(one.dense, WithTensors(pruned, result.tensors), one.samples),
              1.02 * Distance(one.dense, pruned, one.samples));
  }
}

TEST(Tune, TooFewSamplesToHoldOneOutGetScales) {
  const Case one("bert-classification");
  const Samples three = RandomSamples(one.model.spec, 3, 9);
  for (const TuneRecord& record : Tune(one.dense, one.Pruned(), {three, {}}, {}, kQuiet).records) {
    EXPECT_EQ(record.repair, Repair::kScales);
    EXPECT_NE(record.note.find("too few"), std::string::npos) << record.note;
  }
}

TEST(Tune, DoesNotDependOnBatchesOrPadding) {
  const Case one("mpnet-classification");
  const Model pruned = one.Pruned();
  const TuneResult together = one.Repaired(pruned, {.tokens_per_input = 1, .batch_tokens = 100000});
  const TuneResult alone = one.Repaired(pruned, {.tokens_per_input = 1, .batch_tokens = 1});
  for (const auto& [name, tensor] : together.tensors)
    EXPECT_LT(MaxDifference(tensor, alone.tensors.at(name)), 2e-4) << name;
}

// Matrices that are fetched, streams and new tensors on disk.
TEST(Tune, WithoutMemoryGivesTheSameNumbers) {
  const Case one("bert-classification");
  const Model pruned = one.Pruned();
  const TuneResult memory = one.Repaired(pruned, {.tokens_per_input = 1});
  const Network streamed = Bind(one.model, {.memory = 0});
  ASSERT_TRUE(streamed.streamed);
  const TuneResult disk =
      Tune(streamed, pruned, {one.samples, {}}, {.tokens_per_input = 1}, kQuiet);
  for (const auto& [name, value] : memory.tensors)
    EXPECT_TRUE(at::equal(value, disk.tensors.at(name))) << name;
}

TEST(Tune, EveryTargetBringsTheModelNearer) {
  const Case one("bert-classification");
  const double none = Distance(one.dense, one.Pruned(), one.samples);
  for (const std::string target : {"drift", "own", "dense"}) {
    EXPECT_LT(one.DistanceAfter({.target = ParseTarget(target), .tokens_per_input = 1}), none)
        << target;
  }
  EXPECT_THROW(ParseTarget("teacher"), Error);
}

TEST(Tune, RepairsSubLayersThatLostEverything) {
  const Case one("bert-base");
  const Model pruned = Shrink(one.model, {{{}, {0, 1, 2}, {0, 1, 2, 3}, {}}});
  const TuneResult result = one.Repaired(pruned, {.tokens_per_input = 1});
  const Model repaired = WithTensors(pruned, result.tensors);
  EXPECT_EQ(result.tensors.at(pruned.spec.sub_layers[0].output + ".weight").numel(), 0);
  EXPECT_LT(Distance(one.dense, repaired, one.samples), Distance(one.dense, pruned, one.samples));
}

TEST(Tune, PublishedRulesSkipTheFirstAttentionAndChangeNoBias) {
  const Case one("bert-classification");
  const Model pruned = one.Pruned();
  const TuneResult result = one.Repaired(pruned, {.published = true});
  EXPECT_EQ(result.records[0].repair, Repair::kNone);
  EXPECT_NE(result.records[0].note.find("first attention"), std::string::npos);
  bool stopped = false;
  for (size_t i = 1; i < result.records.size(); ++i) {
    const TuneRecord& record = result.records[i];
    EXPECT_EQ(record.repair == Repair::kNone, !record.note.empty());
    if (stopped) {
      EXPECT_EQ(record.repair, Repair::kNone);  // for good
    }
    stopped = stopped || record.repair == Repair::kNone;
    if (record.repair == Repair::kNone) continue;
    const SubLayerSpec& sub = pruned.spec.sub_layers[i];
    const at::Tensor& before = pruned.tensors.at(sub.output + ".weight");
    const at::Tensor ratio = (result.tensors.at(sub.output + ".weight") / before)
                                 .view({-1, sub.units, sub.width});  // one number a unit
    EXPECT_LT(MaxDifference(ratio, ratio.select(0, 0).select(1, 0).unsqueeze(1).expand_as(ratio)),
              1e-3);
    EXPECT_GT(MaxDifference(ratio, at::ones_like(ratio)), 1e-4);
    EXPECT_EQ(MaxDifference(result.tensors.at(sub.output + ".bias"),
                            pruned.tensors.at(sub.output + ".bias")),
              0);
  }
  EXPECT_EQ(result.records[1].repair, Repair::kScales) << result.records[1].note;
}

// Of few tokens, either target may explain more of the drift's residual on held-out samples: up to
// the first sub-layer where its own does, the two repairs are one, and there the choice gains.
TEST(Tune, OfFewTokensTheBetterTargetIsTaken) {
  int64_t own = 0;
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const Samples few = RandomSamples(one.model.spec, 3, 4);
    const Samples held_out = RandomSamples(one.model.spec, 20, 9);
    const Model pruned = one.Pruned();
    const auto records = [&](double tokens_per_input) {
      return Tune(one.dense, pruned, {few, held_out}, {.tokens_per_input = tokens_per_input},
                  kQuiet)
          .records;
    };
    const std::vector<TuneRecord> drift = records(0), chosen = records(1e9);
    for (size_t i = 0; i < drift.size(); ++i) {
      EXPECT_EQ(drift[i].target, Target::kDrift);
      EXPECT_GE(chosen[i].held_out.value(), drift[i].held_out.value());
      if (chosen[i].target == Target::kDrift) continue;
      EXPECT_GT(chosen[i].held_out.value(), drift[i].held_out.value());
      ++own;
      break;
    }
  }
  EXPECT_GT(own, 0);
}

// The published fit reads the teacher's channels before its mask is applied to them: the target is
// that of a teacher which lost none. The teacher's stream goes on without them.
TEST(Tune, PublishedTargetsOfChannelsAreTheUnprunedOnes) {
  const Case one("bert-classification");
  const Model pruned = one.Pruned();
  Plan milder = FullPlan(UnitCounts(one.model.spec));
  std::erase_if(milder.kept[1], [](int64_t unit) { return unit % 2 == 0; });
  const Network teacher = Bind(Shrink(one.model, milder), {});
  const auto tuned = [&](const Network& stream, const Network& unpruned) {
    return Tune(stream, pruned, {one.samples, {}}, {.published = true, .unpruned = &unpruned},
                kQuiet)
        .tensors;
  };
  const auto dense = tuned(one.dense, one.dense), published = tuned(teacher, one.dense),
             masked = tuned(teacher, teacher);
  const std::string ffn = pruned.spec.sub_layers[1].output + ".weight";
  const std::string next = pruned.spec.sub_layers[2].output + ".weight";
  EXPECT_EQ(MaxDifference(published.at(ffn), dense.at(ffn)), 0);
  EXPECT_GT(MaxDifference(masked.at(ffn), dense.at(ffn)), 1e-3);
  EXPECT_GT(MaxDifference(published.at(next), dense.at(next)), 1e-4);
}

TEST(WithTensors, KeepsTheDtypeOfTheFile) {
  const Model half = LoadModel(TinyFolder("bert-float16"));
  const std::string name = half.spec.sub_layers[1].output + ".bias";
  const Model changed = WithTensors(half, {{name, at::full({16}, 0.5f)}});
  EXPECT_EQ(changed.tensors.at(name).scalar_type(), at::kHalf);
  EXPECT_EQ(MaxDifference(changed.tensors.at(name), at::full({16}, 0.5)), 0);
  EXPECT_THROW(WithTensors(half, {{name, at::zeros({15})}}), InternalError);
}

// What is aligned reads more of what the dense model reads; the repair starts from better inputs.
TEST(Tune, AlignmentBringsTheOutputsNearer) {
  for (const std::string name : {"bert-classification", "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const double plain = one.DistanceAfter({.tokens_per_input = 1});
    const double aligned = one.DistanceAfter({.align = true, .tokens_per_input = 1});
    EXPECT_LT(aligned, plain);
  }
}

TEST(Tune, AlignmentChangesNothingWhereNothingWasCut) {
  const Case one("bert-classification");
  const TuneResult result = one.Repaired(one.model, {.align = true, .tokens_per_input = 1});
  for (const auto& [name, value] : result.tensors)
    EXPECT_LT(MaxDifference(value, one.model.tensors.at(name).to(at::kFloat)), 1e-4) << name;
  EXPECT_GT(result.tensors.size(), 8u);
}

// What is left after the refit of the output projection gets less by the matrices before it.
TEST(Tune, InnerStepsBringTheOutputsNearer) {
  for (const std::string name : {"bert-classification", "roberta-base"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const Samples held_out = RandomSamples(one.model.spec, 40, 9);
    const Model pruned = one.Pruned();
    const auto tuned = [&](const Network& teacher, int64_t steps) {
      return Tune(teacher, pruned, {one.samples, held_out},
                  {.inner_steps = steps, .tokens_per_input = 1}, kQuiet);
    };
    const TuneResult none = tuned(one.dense, 0), three = tuned(one.dense, 3);
    EXPECT_LT(three.held_out->mean(), none.held_out->mean());
    for (size_t i = 0; i < three.records.size(); ++i) {
      EXPECT_FALSE(none.records[i].inner.has_value());
      ASSERT_EQ(three.records[i].inner.has_value(), i % 2 == 1);
      EXPECT_GT(three.records[i].inner.value_or(1), 0.01) << i;
    }
    const TuneResult streamed = tuned(Bind(one.model, {.memory = 0}), 3);
    for (const auto& [tensor, value] : three.tensors)
      EXPECT_TRUE(at::equal(value, streamed.tensors.at(tensor))) << tensor;
  }
}

TEST(Tune, MeasuresTheDivergenceOnHeldOutSamples) {
  for (const std::string name : {"bert-classification", "distilbert-regression", "roberta-base",
                                 "mpnet-question-answering"}) {
    SCOPED_TRACE(name);
    const Case one(name);
    const Samples held_out = RandomSamples(one.model.spec, 40, 9);
    const Model pruned = one.Pruned();
    for (const Target target : {Target::kDrift, Target::kOwn}) {
      const TuneResult result =
          Tune(one.dense, pruned, {one.samples, held_out}, {.target = target}, kQuiet);
      ASSERT_TRUE(result.held_out.has_value());
      const Network net = Bind(WithTensors(pruned, result.tensors), {});
      Divergence expected;
      for (const Batch& batch : MakeBatches(held_out, net.spec, 300, at::kCPU)) {
        expected.Add(
            DivergenceOf(net.spec.task, Forward(one.dense, batch), Forward(net, batch), batch));
      }
      EXPECT_NEAR(result.held_out->mean(), expected.mean(), 1e-5 + 1e-3 * expected.mean());
      EXPECT_EQ(result.held_out->count, expected.count);
      for (const TuneRecord& record : result.records) EXPECT_GE(record.held_out.value_or(-1), 0);
    }
  }
}

}  // namespace
}  // namespace coppice
