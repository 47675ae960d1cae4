// Models larger than the memory they may take: everything streams and waits in files, and the
// result is the one that memory gives.
#include <gtest/gtest.h>

#include "model/decoder_testing.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

class MemoryTest : public PipelineTest {
 protected:
  PruneOptions Options(const std::string& model, const std::string& method) {
    PruneOptions options = TinyOptions(model, 0.6);
    options.method = method;
    options.replace = true;
    if (std::filesystem::exists(TinyDecoderPath(model))) {
      options.model = TinyDecoderPath(model);
      options.data = {{Text()}};
      options.length = 16;
      options.budget = CostKind::kParameters;
      options.channel_multiple = 4;
    }
    return options;
  }

  std::filesystem::path Text() {
    std::string text;
    for (int i = 0; i < 200; ++i)
      text += fmt::format("The {} cat number {} saw the river.\n", i % 7, i * i);
    return Write("text.txt", text);
  }

  void ExpectTheSame(PruneOptions options) {
    options.out = folder_.path() / "resident";
    const PruneReport resident = Prune(options, kQuiet);
    options.out = folder_.path() / "streamed";
    options.memory = 0;
    const PruneReport streamed = Prune(options, kQuiet);
    EXPECT_EQ(streamed.plan, resident.plan);
    EXPECT_NEAR(streamed.calibration_loss, resident.calibration_loss, 1e-5);
    const Model a = LoadModel(folder_.path() / "resident");
    const Model b = LoadModel(folder_.path() / "streamed");
    ASSERT_EQ(a.tensors.size(), b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) {
      const double scale = tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
      EXPECT_LE(MaxDifference(tensor, b.tensors.at(name)), 1e-3 * scale) << name;
    }
  }
};

TEST_F(MemoryTest, StreamsGiveTheModelThatMemoryGives) {
  for (const std::string model : {"llama3", "bert-classification"}) {
    for (const std::string method : {"obs", "fisher", "numerical", "flap", "wanda", "magnitude"}) {
      SCOPED_TRACE(model + " " + method);
      ExpectTheSame(Options(model, method));
    }
  }
}

TEST_F(MemoryTest, RoundsAndRearrangementsStreamToo) {
  PruneOptions options = Options("bert-classification", "obs");
  options.rounds = 1;
  ExpectTheSame(options);
  options = Options("bert-classification", "fisher");
  options.rearrange = true;
  ExpectTheSame(options);
  options.rearrange = false;
  options.as_published = true;
  ExpectTheSame(options);
}

TEST_F(MemoryTest, LeavesNothingBehind) {
  const TempFolder temporary;
  const char* usual = std::getenv("TMPDIR");
  const std::string old = usual == nullptr ? "/tmp" : usual;
  setenv("TMPDIR", temporary.path().c_str(), 1);
  PruneOptions options = Options("llama3", "obs");
  options.out = folder_.path() / "out";
  options.memory = 0;
  Prune(options, kQuiet);
  setenv("TMPDIR", old.c_str(), 1);
  EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
}

}  // namespace
}  // namespace coppice
