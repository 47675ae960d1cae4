// Gauss-Newton steps on tiny models whose feed-forward matrices were moved, so that a perfect fit
// exists.
#include "tune/gauss_newton.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "model/decoder_testing.h"
#include "model/device.h"

namespace coppice {
namespace {

constexpr size_t kIndex = 1;  // the first feed-forward sub-layer

std::filesystem::path FolderOf(const std::string& name) {
  return name == "llama3" ? TinyDecoderPath(name) : TinyFolder(name);
}

// A student that stands at its first feed-forward sub-layer, whose readers were moved by noise.
struct Moved {
  Moved(const std::string& name, double noise)
      : model(LoadModel(FolderOf(name))),
        teacher(Bind(model, {})),
        fitted(RandomSamples(model.spec, 120, 3)),
        held_out(RandomSamples(model.spec, 40, 9)),
        student(WithNoise(model, noise), {}, /*streamed=*/false),
        streams(StartStreams(teacher, {fitted, held_out}, 300)) {
    UseThreads(1);
    for (size_t i = 0; i <= kIndex; ++i) {
      first = FitMoments(teacher, student.net(), i, {.keep_target = i == kIndex}, &streams);
      if (i < kIndex) Advance(student.net(), i, &streams);
    }
  }
  static Model WithNoise(Model moved, double noise) {
    at::manual_seed(7);
    for (const std::string& name : Readers(moved.spec.sub_layers[kIndex])) {
      at::Tensor& weight = moved.tensors.at(name + ".weight");
      const at::Tensor exact = weight.to(at::kFloat);
      weight = exact + noise * exact.std() * at::randn_like(exact);
    }
    return moved;
  }
  SplitMoments Left() { return RefitMoments(student.net(), kIndex, false, &streams); }

  at::NoGradGuard no_gradients;
  Model model;
  Network teacher;
  Samples fitted, held_out;
  Student student;
  std::vector<Streams> streams;
  SplitMoments first;  // of the sub-layer as it was
};

const std::vector<std::string> kModels = {"bert-classification", "mpnet-question-answering",
                                          "llama3"};

TEST(GaussNewton, RefitMomentsAreThoseOfTheFirstFitWhereNothingChanged) {
  for (const std::string& name : kModels) {
    SCOPED_TRACE(name);
    Moved one(name, 0.1);
    const SplitMoments again = one.Left();
    EXPECT_TRUE(at::equal(again.fitted.gram, one.first.fitted.gram));
    EXPECT_LT(MaxDifference(again.fitted.cross, one.first.fitted.cross), 1e-4);
    EXPECT_NEAR(again.held_out.residual_energy, one.first.held_out.residual_energy,
                1e-4 * one.first.held_out.residual_energy);
  }
}

// What a small step promises along the linear branch is what the branch itself loses.
TEST(GaussNewton, AStepKeepsItsPromise) {
  for (const std::string& name : kModels) {
    SCOPED_TRACE(name);
    Moved one(name, 0.05);
    const double before = one.Left().held_out.residual_energy;
    const GaussNewtonStep step = MakeGaussNewtonStep(one.student, kIndex, one.streams);
    ASSERT_FALSE(step.tensors.empty());
    EXPECT_GT(step.explained, 0.1);
    one.student.Put(kIndex, step.tensors);
    const double after = one.Left().held_out.residual_energy;
    EXPECT_NEAR(1 - after / before, step.explained, 0.03);
  }
}

TEST(GaussNewton, StepsComeNearTheMatricesThatGiveTheTarget) {
  for (const std::string& name : kModels) {
    SCOPED_TRACE(name);
    Moved one(name, 0.3);
    double left = one.Left().held_out.residual_energy;
    const double first = left;
    for (int i = 0; i < 8; ++i) {
      const GaussNewtonStep step = MakeGaussNewtonStep(one.student, kIndex, one.streams);
      if (step.tensors.empty()) break;
      one.student.Put(kIndex, step.tensors);
      const double now = one.Left().held_out.residual_energy;
      EXPECT_LT(now, 1.02 * left) << i;
      left = now;
    }
    EXPECT_LT(left, 0.3 * first);
  }
}

TEST(GaussNewton, MovesTheMatricesThatReadAndTheirBiasesAlone) {
  Moved encoder("bert-classification", 0.1), decoder("llama3", 0.1);
  const auto names = [](const Moved& one) {
    std::vector<std::string> list;
    for (const auto& [name, tensor] :
         MakeGaussNewtonStep(one.student, kIndex, one.streams).tensors) {
      EXPECT_TRUE(tensor.sizes().equals(one.model.tensors.at(name).sizes())) << name;
      list.push_back(name);
    }
    return list;
  };
  const std::string up = Readers(encoder.model.spec.sub_layers[kIndex]).at(0);
  EXPECT_EQ(names(encoder), (std::vector<std::string>{up + ".bias", up + ".weight"}));
  std::vector<std::string> gate_and_up;
  for (const std::string& name : Readers(decoder.model.spec.sub_layers[kIndex]))
    gate_and_up.push_back(name + ".weight");
  EXPECT_EQ(names(decoder), gate_and_up);
}

TEST(GaussNewton, NothingIsLeftToAskForWhereNothingWasMoved) {
  Moved one("bert-classification", 0);
  for (const auto& [name, tensor] : MakeGaussNewtonStep(one.student, kIndex, one.streams).tensors)
    EXPECT_LT(MaxDifference(tensor, one.model.tensors.at(name)), 1e-3) << name;
}

}  // namespace
}  // namespace coppice
