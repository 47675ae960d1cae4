#include "pipeline/bench.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "latency/onnx_clock.h"
#include "latency/run_once.h"
#include "latency/stopwatch.h"
#include "model/device.h"
#include "pipeline/source.h"

namespace coppice {
namespace {

struct Contestant {
  std::string name;
  std::filesystem::path onnx;  // empty: `net` runs in coppice
  Network net;
  bool language() const { return onnx.empty() && net.spec.task == Task::kLanguageModel; }
};

// One stage of one contestant, at one batch and length.
struct Measured {
  std::string runtime;
  std::vector<Timing> stages;
};

std::vector<double> RunStages(const Network& net, const Batch& batch) {
  if (net.spec.task != Task::kLanguageModel) return {MeasureReading(net, batch)};
  const GenerationMs ms = MeasureGeneration(net, batch);
  return {ms.prefill, ms.decode};
}

// Of those that are bound, in their order.
std::vector<Measured> MeasureHere(const std::vector<const Contestant*>& group, int64_t rows,
                                  int64_t length, const Rounds& rounds, Progress* progress) {
  std::vector<Batch> batches;
  for (const Contestant* one : group)
    batches.push_back(RandomBatch(one->net.spec, rows, length, one->net.compute));
  std::vector<Turn> turns;
  for (size_t i = 0; i < group.size(); ++i)
    turns.push_back([&net = group[i]->net, &batch = batches[i]] { return RunStages(net, batch); });
  std::vector<Measured> measured;
  for (const auto& stages : TakeTurns(turns, rounds, progress)) {
    measured.push_back({"coppice", {}});
    for (const std::vector<double>& ms : stages) measured.back().stages.push_back(Summarize(ms));
  }
  return measured;
}

// Token ids that the file surely has.
int64_t OnnxVocabulary(const std::filesystem::path& file) {
  constexpr int64_t kCommon = 1000;
  const int64_t vocabulary = ReadOnnxInputs(file).vocabulary;
  return vocabulary > 0 ? vocabulary : kCommon;
}

std::vector<Measured> MeasureFiles(const std::vector<const Contestant*>& group,
                                   const LatencySetting& setting, const Rounds& rounds) {
  std::vector<std::filesystem::path> files;
  int64_t vocabulary = OnnxVocabulary(group.front()->onnx);
  for (const Contestant* one : group) {
    files.push_back(one->onnx);
    vocabulary = std::min(vocabulary, OnnxVocabulary(one->onnx));
  }
  const OnnxTimes times = TimeOnnxFiles(files, vocabulary, setting, rounds);
  std::vector<Measured> measured;
  for (const Timing& timing : times.timings) measured.push_back({times.runtime, {timing}});
  return measured;
}

// Each runtime has its share of the time.
std::vector<Measured> MeasureAll(const std::vector<Contestant>& contestants,
                                 const BenchOptions& options, const LatencySetting& setting,
                                 Progress* progress) {
  std::vector<Measured> all(contestants.size());
  for (const bool files : {false, true}) {
    std::vector<const Contestant*> group;
    std::vector<size_t> places;
    for (size_t i = 0; i < contestants.size(); ++i) {
      if (contestants[i].onnx.empty() == files) continue;
      group.push_back(&contestants[i]);
      places.push_back(i);
    }
    if (group.empty()) continue;
    const double share =
        static_cast<double>(group.size()) / static_cast<double>(contestants.size());
    const Rounds rounds = {3, options.repeats, options.seconds * share};
    const std::vector<Measured> measured =
        files ? MeasureFiles(group, setting, rounds)
              : MeasureHere(group, setting.batch, setting.tokens, rounds, progress);
    for (size_t k = 0; k < places.size(); ++k) all[places[k]] = measured[k];
  }
  return all;
}

void AddRows(const std::vector<Contestant>& contestants, const std::vector<Measured>& measured,
             const LatencySetting& setting, std::vector<BenchRow>* table) {
  for (size_t stage = 0; stage < measured[0].stages.size(); ++stage) {
    const double baseline = measured[0].stages[stage].median;
    for (size_t i = 0; i < measured.size(); ++i) {
      const Timing& timing = measured[i].stages[stage];
      const bool decode = stage == 1;
      const int64_t tokens = setting.batch * (decode ? 1 : setting.tokens);
      table->push_back({.model = contestants[i].name,
                        .runtime = measured[i].runtime,
                        .stage = !contestants[i].language() ? "forward"
                                 : decode                   ? "decode"
                                                            : "prefill",
                        .batch = setting.batch,
                        .length = setting.tokens,
                        .repeats = timing.repeats,
                        .median_ms = timing.median,
                        .low_ms = timing.low,
                        .high_ms = timing.high,
                        .tokens_per_second = static_cast<double>(tokens) / timing.median * 1e3,
                        .speedup = baseline / timing.median});
    }
  }
}

Contestant Open(const std::filesystem::path& path, const BenchOptions& options,
                const Compute& compute) {
  Contestant contestant = {path.string(), FindOnnxFile(path), {}};
  if (!contestant.onnx.empty()) return contestant;
  contestant.net = Bind(LoadModel(path), compute);
  for (const int64_t length : options.lengths) {
    if (length <= contestant.net.spec.max_tokens) continue;
    ThrowUsage({.what = "length is beyond the model's inputs",
                .where = path.string(),
                .expected = fmt::format("at most {}", contestant.net.spec.max_tokens),
                .found = fmt::to_string(length)});
  }
  return contestant;
}

}  // namespace

BenchReport Bench(const BenchOptions& options, const Console& console) {
  const at::NoGradGuard no_gradients;
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  BenchReport report;
  report.device = DeviceName(compute);
  report.dtype = DtypeName(compute);
  report.threads = at::get_num_threads();
  std::vector<Contestant> contestants;
  for (const std::filesystem::path& path : options.models) {
    contestants.push_back(Open(path, options, compute));
    if (contestants.back().language() != contestants.front().language()) {
      ThrowUsage(
          {.what = "a language model and an encoder cannot be compared", .where = path.string()});
    }
  }
  const auto shapes = static_cast<int64_t>(options.batches.size() * options.lengths.size());
  Progress progress(console, "bench", shapes * options.repeats);
  for (const int64_t rows : options.batches) {
    for (const int64_t length : options.lengths) {
      const LatencySetting setting = {
          .batch = rows, .tokens = length, .compute = compute, .threads = report.threads};
      AddRows(contestants, MeasureAll(contestants, options, setting, &progress), setting,
              &report.rows);
    }
  }
  return report;
}

}  // namespace coppice
