#include "latency/stopwatch.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>

#include "core/error.h"
#include "core/version.h"
#include "latency/onnx_clock.h"
#include "latency/run_once.h"

namespace coppice {
namespace {

constexpr double kShortTurn = 50;  // ms

// The value at a share of the sorted ones, the nearest.
double Quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

double Total(const std::vector<double>& stages) {
  double sum = 0;
  for (const double ms : stages) sum += ms;
  return sum;
}

std::vector<Timing> TimeInCoppice(const std::vector<Model>& models, const LatencySetting& setting,
                                  const Rounds& rounds, const Console& console) {
  const at::NoGradGuard no_gradients;
  std::vector<Network> nets;
  std::vector<Batch> batches;
  for (const Model& model : models) {
    nets.push_back(Bind(model, setting.compute));
    batches.push_back(RandomBatch(model.spec, setting.batch, setting.tokens, nets.back().compute));
  }
  std::vector<Turn> turns;
  for (size_t i = 0; i < nets.size(); ++i)
    turns.push_back([&net = nets[i], &batch = batches[i]] {
      return std::vector<double>{MeasureReading(net, batch)};
    });
  Progress progress(console, "latency", rounds.most);
  std::vector<Timing> timings;
  for (const auto& stages : TakeTurns(turns, rounds, &progress))
    timings.push_back(Summarize(stages[0]));
  return timings;
}

}  // namespace

Timing Summarize(std::vector<double> ms) {
  Check(!ms.empty(), "no time was measured");
  std::sort(ms.begin(), ms.end());
  return {Quantile(ms, 0.5), Quantile(ms, 0.1), Quantile(ms, 0.9), static_cast<int64_t>(ms.size())};
}

std::vector<std::vector<std::vector<double>>> TakeTurns(const std::vector<Turn>& turns,
                                                        const Rounds& rounds, Progress* progress) {
  std::vector<std::vector<std::vector<double>>> times(turns.size());
  std::vector<bool> twice(turns.size());
  for (size_t i = 0; i < turns.size(); ++i) {
    turns[i]();
    twice[i] = Total(turns[i]()) < kShortTurn;
  }
  const double start = Now();
  for (int64_t round = 0;
       round < rounds.least || (round < rounds.most && Now() - start < rounds.seconds); ++round) {
    for (size_t k = 0; k < turns.size(); ++k) {
      const size_t i = round % 2 == 0 ? k : turns.size() - 1 - k;
      if (twice[i]) turns[i]();
      const std::vector<double> stages = turns[i]();
      times[i].resize(stages.size());
      for (size_t stage = 0; stage < stages.size(); ++stage)
        times[i][stage].push_back(stages[stage]);
    }
    progress->Step();
  }
  return times;
}

Stopwatch MakeStopwatch(const LatencySetting& setting, const Rounds& rounds,
                        const Console& console) {
  RuntimeVersion(setting.runtime);
  return [=](const std::vector<Model>& models) {
    return setting.runtime == "coppice" ? TimeInCoppice(models, setting, rounds, console)
                                        : TimeInOnnxRuntime(models, setting, rounds, console);
  };
}

std::string RuntimeVersion(const std::string& runtime) {
  if (runtime == "coppice") return fmt::format("coppice {}, torch {}", kVersion, TORCH_VERSION);
  if (runtime == "onnxruntime") return OnnxRuntimeVersion();
  ThrowUsage({.what = "unknown runtime",
              .where = "--runtime",
              .expected = "coppice or onnxruntime",
              .found = runtime});
}

}  // namespace coppice
