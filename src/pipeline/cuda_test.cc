// The same work on a CUDA device and on the processor. Skipped where there is no such device;
// scripts/test_cuda runs these alone.
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "calibrate/samples_testing.h"
#include "eval/run_model.h"
#include "model/decoder_testing.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"

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
      for (size_t i = 0; i < on_cpu.repairs.size(); ++i)
        EXPECT_EQ(on_cpu.repairs[i].damping, on_cuda.repairs[i].damping);
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

}  // namespace
}  // namespace coppice
