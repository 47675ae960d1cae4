// How turns are taken and summarised, and that both runtimes can be timed. No time is expected.
#include "latency/stopwatch.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/subprocess.h"
#include "latency/onnx_clock.h"
#include "latency/probe.h"
#include "testdata.h"

namespace coppice {
namespace {

const Console kSilent(true);

TEST(Stopwatch, SummarizesByMedianAndTenths) {
  const Timing timing = Summarize({9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 10});
  EXPECT_EQ(timing.median, 5);
  EXPECT_EQ(timing.low, 1);
  EXPECT_EQ(timing.high, 9);
  EXPECT_EQ(timing.repeats, 11);
  EXPECT_EQ(Summarize({2}).high, 2);
}

// Short turns run twice in a round and count once; the first round is not counted.
TEST(Stopwatch, ModelsTakeTurnsInBothDirections) {
  std::vector<int> order;
  const auto turn = [&](int name, double ms) {
    return [&order, name, ms] {
      order.push_back(name);
      return std::vector<double>{ms, 2 * ms};
    };
  };
  Progress progress(kSilent, "test", 2);
  const auto times =
      TakeTurns({turn(1, 1), turn(2, 1000)}, {.least = 2, .most = 2, .seconds = 0}, &progress);
  EXPECT_EQ(order, (std::vector<int>{1, 1, 2, 2, 1, 1, 2, 2, 1, 1}));
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[1], (std::vector<std::vector<double>>{{1000, 1000}, {2000, 2000}}));
}

TEST(Stopwatch, GoesOnWhileThereIsTime) {
  const std::vector<Turn> turns = {[] { return std::vector<double>{1}; }};
  Progress progress(kSilent, "test", 9);
  EXPECT_EQ(TakeTurns(turns, {.least = 2, .most = 9, .seconds = 1e9}, &progress)[0][0].size(), 9U);
  EXPECT_EQ(TakeTurns(turns, {.least = 3, .most = 9, .seconds = 0}, &progress)[0][0].size(), 3U);
}

TEST(Stopwatch, TimesModelsHere) {
  for (const std::filesystem::path& folder :
       {TinyFolder("bert-classification"), SourceDir() / "testdata" / "tiny-decoders" / "llama3"}) {
    const Model model = LoadModel(folder);
    const std::vector<Timing> timings = MakeStopwatch(
        {.batch = 2, .tokens = 9}, {.least = 3, .most = 3}, kSilent)({model, MakeEmpty(model)});
    ASSERT_EQ(timings.size(), 2U);
    for (const Timing& timing : timings) {
      EXPECT_EQ(timing.repeats, 3);
      EXPECT_GT(timing.median, 0);
    }
  }
}

TEST(Stopwatch, TimesModelsInOnnxRuntime) {
  if (RunProgram({PythonProgram(), "-c", "import onnxruntime"}, "").code != 0)
    GTEST_SKIP() << "needs a Python with onnxruntime (COPPICE_PYTHON)";
  const Model model = LoadModel(TinyFolder("mpnet-classification"));
  const LatencySetting setting = {.runtime = "onnxruntime", .batch = 2, .tokens = 9};
  const std::vector<Timing> timings =
      MakeStopwatch(setting, {.least = 3, .most = 3}, kSilent)({model, MakeEmpty(model)});
  ASSERT_EQ(timings.size(), 2U);
  EXPECT_EQ(timings[1].repeats, 3);
  EXPECT_TRUE(RuntimeVersion("onnxruntime").starts_with("onnxruntime "));
  const TempFolder folder;
  WriteFile(folder.path() / "no.onnx", "nothing");
  ExpectError(ExitCode::kBadInput, {"no.onnx", "onnxruntime cannot run this"},
              [&] { TimeOnnxFiles({folder.path() / "no.onnx"}, 10, setting, {}); });
}

TEST(Stopwatch, SaysWhatIsMissing) {
  ExpectError(ExitCode::kUsage, {"unknown runtime", "tflite"},
              [] { MakeStopwatch({.runtime = "tflite"}, {}, kSilent); });
  const char* const python = std::getenv("COPPICE_PYTHON");
  const std::string before = python != nullptr ? python : "";
  ::setenv("COPPICE_PYTHON", "/no/such/python", 1);
  ExpectError(ExitCode::kEnvironment, {"/no/such/python", "onnxruntime is not at hand"},
              [] { MakeStopwatch({.runtime = "onnxruntime"}, {}, kSilent); });
  python != nullptr ? ::setenv("COPPICE_PYTHON", before.c_str(), 1) : ::unsetenv("COPPICE_PYTHON");
}

}  // namespace
}  // namespace coppice
