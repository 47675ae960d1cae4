// The same work on a CUDA device and on the processor. Skipped where there is no such device;
// scripts/test_cuda runs these alone.
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "eval/run_model.h"
#include "model/decoder_testing.h"
#include "model/encoder_testing.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"
#include "score/mask_gradients.h"
#include "score/replacement.h"

namespace coppice {
namespace {

class CudaTest : public PipelineTest {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
    UseThreads(2);
  }

  PruneReport PruneOn(const std::string& device, const std::string& model,
                      const std::string& method) {
    PruneOptions options = TinyOptions(model, 0.6, device);
    options.replace = true;
    options.method = method;
    options.device = device;
    options.threads = 0;
    options.memory = memory_;
    options.inner_steps = 0;  // of which tiny models take one more or less by a rounding
    return Prune(options, kQuiet);
  }

  std::optional<int64_t> memory_;
};

TEST_F(CudaTest, GivesTheOutputsOfTheProcessor) {
  at::NoGradGuard no_gradients;
  std::vector<std::filesystem::path> folders;
  for (const std::string& name : TinyNames()) folders.push_back(TinyFolder(name));
  for (const std::string& name : TinyDecoderNames()) folders.push_back(TinyDecoderPath(name));
  for (const std::filesystem::path& folder : folders) {
    SCOPED_TRACE(folder.string());
    const Model model = LoadModel(folder);
    const Samples samples = RandomSamples(model.spec, 20, 7);
    const std::vector<at::Tensor> expected =
        RunModel(Bind(model, {at::kCPU, at::kFloat}), samples, kQuiet);
    const std::vector<at::Tensor> outputs =
        RunModel(Bind(model, {at::kCUDA, at::kFloat}), samples, kQuiet);
    ASSERT_EQ(outputs.size(), expected.size());
    for (size_t i = 0; i < outputs.size(); ++i)
      EXPECT_LT(MaxDifference(outputs[i], expected[i]), 1e-4);
  }
}

TEST_F(CudaTest, KeepsTheSameUnitsAndWritesTheSameWeights) {
  for (const std::string model : {"bert-classification", "distilbert-regression", "roberta-base",
                                  "mpnet-question-answering"}) {
    for (const std::string method : {"fisher", "obs", "numerical", "flap"}) {
      SCOPED_TRACE(fmt::format("{} {}", model, method));
      const PruneReport on_cpu = PruneOn("cpu", model, method);
      const PruneReport on_cuda = PruneOn("cuda", model, method);
      EXPECT_EQ(on_cpu.plan, on_cuda.plan);
      // Both choose the same ridges, of 3e-4 times the mean diagonal at the least: that makes a few
      // thousandths of the weights of float32's 1e-6 in the moments.
      for (size_t i = 0; i < on_cpu.repairs.size(); ++i) {
        EXPECT_EQ(on_cpu.repairs[i].damping, on_cuda.repairs[i].damping);
        EXPECT_EQ(on_cpu.repairs[i].aligned_damping, on_cuda.repairs[i].aligned_damping);
      }
      const Model a = LoadModel(folder_.path() / "cpu"), b = LoadModel(folder_.path() / "cuda");
      for (const auto& [name, tensor] : a.tensors) {
        const double scale = tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
        EXPECT_LE(MaxDifference(tensor, b.tensors.at(name)),
                  (method == "obs" ? 5e-3 : 1e-3) * scale)
            << name;
      }
    }
  }
}

// A device measures several levels in one batch, the processor one after the other.
TEST_F(CudaTest, MeasuresTheSameLevels) {
  std::vector<std::filesystem::path> folders = {TinyFolder("bert-classification"),
                                                TinyFolder("mpnet-question-answering")};
  folders.push_back(TinyDecoderPath(TinyDecoderNames()[0]));
  for (const std::filesystem::path& folder : folders) {
    SCOPED_TRACE(folder.string());
    const Model model = LoadModel(folder);
    const Samples samples = RandomSamples(model.spec, 20, 7);
    const auto measure = [&](at::Device device) {
      const Network net = Bind(model, {device, at::kFloat});
      std::vector<std::vector<Replacement>> tried;
      for (const SubLayer& sub : net.sub_layers) {
        const int64_t inputs = sub.units * sub.width, half = inputs / 2;
        const auto numbers = at::TensorOptions(at::kLong).device(device);
        tried.push_back(
            {Whole(sub),
             {at::arange(half, numbers), {sub.out.weight.slice(1, 0, half), sub.out.bias}},
             {at::arange(0, numbers), {sub.out.weight.slice(1, 0, 0), sub.out.bias}}});
      }
      return MeasureReplacements(net, samples, tried, {}, kQuiet);
    };
    const auto on_cpu = measure(at::kCPU), on_cuda = measure(at::kCUDA);
    ASSERT_EQ(on_cpu.size(), on_cuda.size());
    for (size_t i = 0; i < on_cpu.size(); ++i) {
      ASSERT_EQ(on_cpu[i].size(), on_cuda[i].size());
      for (size_t k = 0; k < on_cpu[i].size(); ++k)
        EXPECT_NEAR(on_cuda[i][k], on_cpu[i][k], 1e-6 + 1e-3 * on_cpu[i][k]) << i << " " << k;
      EXPECT_GT(on_cpu[i].back(), 1e-5);
    }
  }
}

// What streams to the device leaves the same model as what is there.
TEST_F(CudaTest, StreamsGiveTheModelThatMemoryGives) {
  for (const std::string method : {"fisher", "obs", "numerical"}) {
    SCOPED_TRACE(method);
    memory_.reset();
    const PruneReport on_cpu = PruneOn("cpu", "bert-classification", method);
    memory_ = 0;
    const PruneReport on_cuda = PruneOn("cuda", "bert-classification", method);
    EXPECT_GT(on_cuda.peak_device_bytes, 0);
    EXPECT_EQ(on_cpu.plan, on_cuda.plan);
  }
}

// |found - expected| / |expected| of all together.
double Error(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& expected) {
  const auto all = [](const std::vector<at::Tensor>& list) {
    std::vector<at::Tensor> flat;
    flat.reserve(list.size());
    for (const at::Tensor& one : list) flat.push_back(one.to(at::kCPU, at::kDouble).flatten());
    return at::cat(flat);
  };
  const at::Tensor wanted = all(expected);
  return ((all(found) - wanted).norm() / wanted.norm()).item<double>();
}

Samples SamplesOf(const std::vector<int64_t>& lengths) {
  Samples samples;
  samples.labelled = true;
  Random random(17);
  for (const int64_t length : lengths) {
    Sample sample;
    for (int64_t t = 0; t < length; ++t)
      sample.encoding.ids.push_back(2 + static_cast<int32_t>(random.Below(48)));
    sample.encoding.type_ids.assign(static_cast<size_t>(length), 0);
    sample.label = static_cast<double>(samples.samples.size() % 2);
    samples.samples.push_back(sample);
  }
  return samples;
}

// (M, D) the residual stream's real rows at the end, packed all the way as repairs walk.
at::Tensor PackedEnd(const Network& net, const Samples& samples) {
  std::vector<at::Tensor> ends;
  for (const Batch& batch : MakeBatches(samples, net.spec, 1 << 14, net.compute.device)) {
    const AttentionContext context = MakePackedContext(net, batch);
    at::Tensor hidden = Begin(net, batch, context).exact;
    for (const SubLayer& sub : net.sub_layers)
      hidden = AddBranch(net, sub, hidden, Project(sub, UnitInputs(net, sub, hidden, context)));
    ends.push_back(hidden);
  }
  return at::cat(ends);
}

// bfloat16 with the device's kernels for short texts is no further from float32 than bfloat16 with
// LibTorch's on the processor: shapes that the kernels take, shapes that they leave, padded batches
// and single texts, sub-layers without units, one segment and several.
TEST_F(CudaTest, ShortTextsAreAsExactAsBfloat16OnTheProcessor) {
  const std::vector<EncoderShape> shapes = {
      {},
      {.relative_bias = false},
      {.heads = {3, 0}, .channels = {256, 0}},
      {.heads = {0, 2}, .channels = {0, 256}},
      {.heads = {5, 1}, .channels = {100, 1}, .key_width = 16, .value_width = 16},
      {.heads = {2, 2}, .channels = {64, 64}, .key_width = 8, .value_width = 8},
      {.width = 384, .heads = {6, 3}, .channels = {1536, 640}, .key_width = 64, .value_width = 48},
      {.width = 90, .heads = {2, 2}, .channels = {64, 64}},
  };
  for (const EncoderShape& shape : shapes) {
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{1}, {12, 12, 12}, {25, 7, 1, 19, 30}, {90, 130, 3}}) {
      SCOPED_TRACE(fmt::format("width {}, {} and {} heads of {}, {} texts", shape.width,
                               shape.heads[0], shape.heads[1], shape.value_width, lengths.size()));
      const Samples samples = SamplesOf(lengths);
      const Network exact = RandomEncoder(shape, {at::kCPU, at::kFloat});
      const Network rounded = RandomEncoder(shape, {at::kCPU, at::kBFloat16});
      const Network on_cuda = RandomEncoder(shape, {at::kCUDA, at::kBFloat16});
      const std::vector<at::Tensor> expected = RunModel(exact, samples, kQuiet);
      EXPECT_LT(Error(RunModel(on_cuda, samples, kQuiet), expected),
                5e-3 + 1.5 * Error(RunModel(rounded, samples, kQuiet), expected));
      const at::Tensor end = PackedEnd(exact, samples);
      EXPECT_LT(Error({PackedEnd(on_cuda, samples)}, {end}),
                5e-3 + 1.5 * Error({PackedEnd(rounded, samples)}, {end}));
      for (const bool curvature : {false, true}) {
        const MaskGradientOptions options = {.curvature = curvature};
        MaskGradientOptions in_segments = options;
        in_segments.segments = SegmentLimits{};
        const MaskGradients wanted = ComputeMaskGradients(exact, samples, options, kQuiet);
        const MaskGradients by_libtorch = ComputeMaskGradients(rounded, samples, options, kQuiet);
        for (const MaskGradientOptions& how : {options, in_segments}) {
          const MaskGradients found = ComputeMaskGradients(on_cuda, samples, how, kQuiet);
          EXPECT_LT(Error(found.rows, wanted.rows),
                    1e-2 + 1.5 * Error(by_libtorch.rows, wanted.rows));
          if (!curvature) continue;
          for (size_t i = 0; i < found.curvatures.size(); ++i) {
            if (exact.sub_layers[i].units == 0) continue;
            const Curvature &a = found.curvatures[i], &b = wanted.curvatures[i];
            EXPECT_EQ(a.tokens, b.tokens);
            EXPECT_LT(Error({a.gram.Total()}, {b.gram.Total()}), 2e-2);
            EXPECT_LT(Error({a.gradient.Total()}, {b.gradient.Total()}),
                      2e-2 + 1.5 * Error({by_libtorch.curvatures[i].gradient.Total()},
                                         {b.gradient.Total()}));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace coppice
