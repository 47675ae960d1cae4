// Drawing, calibrating, pruning and measuring models of images, end to end on the tiny ones; and
// the Python file beside the weights.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "load/safetensors.h"
#include "model/image_testing.h"
#include "pipeline/generate.h"
#include "pipeline/measure.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/prune.h"

namespace coppice {
namespace {

class ImagePipelineTest : public PipelineTest {
 protected:
  std::filesystem::path Draw(const std::string& name, GenerateOptions options) const {
    options.model = TinyImagePath("dense");
    options.out = folder_.path() / name;
    options.device = "cpu";
    options.threads = 1;
    Generate(options, kQuiet);
    return options.out;
  }
  PruneOptions Options(const std::string& method) const {
    PruneOptions options;
    options.model = TinyImagePath("dense");
    options.data = {{kSelf}};
    options.images.per_class = 24;
    options.out = folder_.path() / ("out-" + method);
    options.budget = CostKind::kParameters;
    options.keep = 0.6;
    options.method = method;
    options.channel_multiple = 4;
    options.device = "cpu";
    options.dtype = "float32";
    options.threads = 1;
    return options;
  }
};

TEST_F(ImagePipelineTest, DrawsTheSameImagesInAnyCompany) {
  const auto tensor = [](const std::filesystem::path& file, const std::string& name) {
    return SafetensorsFile::Open(file).Get(name);
  };
  const auto all = Draw("all", {.per_class = 5, .sampling = {.guidance = 1.5}, .seed = 3});
  EXPECT_EQ(tensor(all, "tokens").sizes(), at::IntArrayRef({25, 16}));
  const std::vector<int64_t> some = {4, 1};
  const auto few =
      Draw("few", {.classes = some, .per_class = 3, .sampling = {.guidance = 1.5}, .seed = 3});
  EXPECT_TRUE(at::equal(tensor(few, "classes"), at::tensor({4, 4, 4, 1, 1, 1}, at::kInt)));
  EXPECT_TRUE(at::equal(tensor(few, "tokens").slice(0, 3), tensor(all, "tokens").slice(0, 5, 8)));
  const auto other = Draw("other", {.per_class = 5, .sampling = {.guidance = 1.5}, .seed = 4});
  EXPECT_FALSE(at::equal(tensor(other, "tokens"), tensor(all, "tokens")));
}

TEST_F(ImagePipelineTest, RefusesWhatItCannotDraw) {
  ExpectError(ExitCode::kBadInput, {"class out of range", "0 to 4", "found 5"}, [&] {
    Draw("a", {.classes = std::vector<int64_t>{0, 5}});
  });
  ExpectError(ExitCode::kUsage, {"temperature"},
              [&] { Draw("a", {.sampling = {.temperature = 0}}); });
  ExpectError(ExitCode::kUsage, {"--per-class"}, [&] { Draw("a", {.per_class = 0}); });
  Draw("there", {});
  ExpectError(ExitCode::kUsage, {"exists", "--force"}, [&] { Draw("there", {}); });
  GenerateOptions text;
  text.model = TinyFolder("bert-classification");
  text.out = folder_.path() / "text";
  ExpectError(ExitCode::kBadInput, {"does not draw images", "bert"},
              [&] { Generate(text, kQuiet); });
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "a"));
}

TEST_F(ImagePipelineTest, PrunesByEveryMethodOnImagesOfItsOwn) {
  const auto test = Draw("test", {.per_class = 20, .seed = 9});
  const MeasureOptions measure = {.data = test, .device = "cpu", .threads = 1};
  const double dense = MeasureModel(TinyImagePath("dense"), measure, kQuiet).metric->value;
  for (const std::string method : {"numerical", "fisher", "flap", "wanda", "magnitude"}) {
    SCOPED_TRACE(method);
    PruneOptions options = Options(method);
    options.eval = test;
    const PruneReport report = Prune(options, kQuiet);
    EXPECT_LE(report.kept, 0.6);
    EXPECT_EQ(report.samples, 120);
    EXPECT_EQ(report.calibration_tokens, 120 * 16);
    EXPECT_NEAR(report.eval_before->value, dense, 1e-6 * dense);
    EXPECT_GT(report.eval_after->value, dense);
    const double again = MeasureModel(options.out, measure, kQuiet).metric->value;
    EXPECT_NEAR(again, report.eval_after->value, 1e-4 * again);
    const bool repaired = !report.repairs.empty();
    EXPECT_EQ(repaired, method != "wanda" && method != "magnitude");
    if (!repaired) continue;
    EXPECT_LT(again, 40) << "worse than guessing";
  }
}

TEST_F(ImagePipelineTest, RepairHelps) {
  const auto test = Draw("test", {.per_class = 20, .seed = 9});
  const auto measured = [&](const char* repair) {
    PruneOptions options = Options("numerical");
    options.out = folder_.path() / repair;
    options.repair = repair;
    options.eval = test;
    return Prune(options, kQuiet).eval_after->value;
  };
  EXPECT_LT(measured("least-squares"), measured("none"));
}

TEST_F(ImagePipelineTest, ComparesAndTakesFiles) {
  const auto test = Draw("test", {.per_class = 3});
  PruneOptions options = Options("wanda");
  options.data = {{test}};
  EXPECT_EQ(Prune(options, kQuiet).samples, 15);
  MeasureOptions measure = {.data = test, .device = "cpu", .threads = 1};
  const PairMeasurement pair = MeasurePair(options.model, options.out, measure, kQuiet);
  EXPECT_GT(*pair.comparison.kl, 0);
  EXPECT_EQ(pair.first.tokens, 15 * 16);
  measure.limit = 4;
  EXPECT_EQ(MeasureModel(options.model, measure, kQuiet).examples, 4);
  measure.data = Write("tokens.jsonl", "{\"text\": \"a\"}\n");
  ExpectError(ExitCode::kBadInput, {"tokens.jsonl"},
              [&] { MeasureModel(options.model, measure, kQuiet); });
}

// The file that loads the pruned folder in Python, whose layers differ and have new biases.
TEST_F(ImagePipelineTest, PythonLoadsWhatIsWritten) {
  const PruneOptions options = Options("flap");
  Prune(options, kQuiet);
  const std::filesystem::path file = folder_.path() / "logits.safetensors";
  const std::filesystem::path script = SourceDir() / "examples" / "llamagen" / "llamagen_test.py";
  const std::string python = COPPICE_TORCH_PYTHON;
  if (std::system((python + " -c 'import torch, safetensors' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "needs a Python with torch and safetensors";
  const std::string command = fmt::format("{} {} pruned {} {}", python, script.string(),
                                          options.out.string(), file.string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const at::Tensor found = SafetensorsFile::Open(file).Get("logits");  // (2, T, V)

  const Model pruned = LoadModel(options.out);
  const ModelSpec& spec = pruned.spec;
  const int64_t tokens = spec.max_tokens;
  Batch batch;
  batch.ids = at::arange(-1, tokens - 1, at::kLong).remainder(spec.vocabulary).repeat({2, 1});
  batch.ids[0][0] = spec.vocabulary;
  batch.ids[1][0] = spec.vocabulary + spec.image.classes;
  batch.mask = at::ones(batch.ids.sizes(), at::kBool);
  batch.samples = {0, 1};
  EXPECT_LT(MaxDifference(Outputs(Bind(pruned, {}), batch), found), 1e-4);
  EXPECT_TRUE(pruned.tensors.contains("layers.0.attention.wo.bias"));
}

}  // namespace
}  // namespace coppice
