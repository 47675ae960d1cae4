#include "pipeline/bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "model/device.h"
#include "model/forward.h"
#include "model/generate.h"

namespace coppice {
namespace {

Batch RandomBatch(const ModelSpec& spec, int64_t rows, int64_t length, at::Device device) {
  Random random(0);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < rows * length; ++i) {
    const int64_t id = random.Below(spec.vocabulary - 1);
    ids.push_back(id >= spec.pad_id ? id + 1 : id);  // never padding
  }
  Batch batch;
  batch.ids = at::tensor(ids, at::kLong).view({rows, length}).to(device);
  batch.type_ids = at::zeros_like(batch.ids);
  batch.mask = at::ones({rows, length}, batch.ids.options().dtype(at::kBool));
  for (int64_t row = 0; row < rows; ++row) batch.samples.push_back(row);
  return batch;
}

double MeasureMs(const Network& net, const Batch& batch) {
  const double start = Now();
  Forward(net, batch).to(at::kCPU);  // the copy waits for the device
  return (Now() - start) * 1e3;
}

// A prompt, then a few tokens: the time of the one, the mean time of the others.
struct GenerationMs {
  double prefill = 0, decode = 0;
};

GenerationMs MeasureGenerationMs(const Network& net, const Batch& batch) {
  constexpr int kSteps = 16;
  Generation generation;
  GenerationMs result;
  double start = Now();
  at::Tensor next = Extend(net, batch.ids, &generation).argmax(1, true);  // (B, 1)
  next.to(at::kCPU);
  result.prefill = (Now() - start) * 1e3;
  start = Now();
  for (int step = 0; step < kSteps; ++step) next = Extend(net, next, &generation).argmax(1, true);
  next.to(at::kCPU);
  result.decode = (Now() - start) * 1e3 / kSteps;
  return result;
}

double Quantile(std::vector<double> sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

// Times of one stage, of every model.
struct StageTimes {
  std::string stage;
  int64_t tokens = 0;  // read in one repeat
  std::vector<std::vector<double>> ms;
};

void Measure(const Network& net, const Batch& batch, size_t model,
             std::vector<StageTimes>* stages) {
  if (net.spec.task != Task::kLanguageModel) {
    (*stages)[0].ms[model].push_back(MeasureMs(net, batch));
    return;
  }
  const GenerationMs times = MeasureGenerationMs(net, batch);
  (*stages)[0].ms[model].push_back(times.prefill);
  (*stages)[1].ms[model].push_back(times.decode);
}

void AddRows(const BenchOptions& options, int64_t rows, int64_t length, StageTimes stage,
             std::vector<BenchRow>* table) {
  double baseline = 0;
  for (size_t i = 0; i < stage.ms.size(); ++i) {
    std::vector<double>& ms = stage.ms[i];
    std::sort(ms.begin(), ms.end());
    BenchRow row;
    row.model = options.models[i].string();
    row.stage = stage.stage;
    row.batch = rows;
    row.length = length;
    row.repeats = static_cast<int64_t>(ms.size());
    row.median_ms = Quantile(ms, 0.5);
    row.low_ms = Quantile(ms, 0.1);
    row.high_ms = Quantile(ms, 0.9);
    row.tokens_per_second = static_cast<double>(stage.tokens) / row.median_ms * 1e3;
    if (i == 0) baseline = row.median_ms;
    row.speedup = baseline / row.median_ms;
    table->push_back(row);
  }
}

void BenchShape(const BenchOptions& options, const std::vector<Network>& nets, int64_t rows,
                int64_t length, Progress* progress, std::vector<BenchRow>* table) {
  const bool language = nets[0].spec.task == Task::kLanguageModel;
  const std::vector<std::vector<double>> none(nets.size());
  std::vector<StageTimes> stages = {{language ? "prefill" : "forward", rows * length, none}};
  if (language) stages.push_back({"decode", rows, none});
  std::vector<StageTimes> warm_up = stages;
  std::vector<Batch> batches;
  for (size_t i = 0; i < nets.size(); ++i) {
    batches.push_back(RandomBatch(nets[i].spec, rows, length, nets[i].compute.device));
    for (int repeat = 0; repeat < 2; ++repeat) Measure(nets[i], batches[i], i, &warm_up);
  }
  const double start = Now();
  for (int64_t round = 0; round < options.repeats && (round < 3 || Now() - start < options.seconds);
       ++round) {
    for (size_t i = 0; i < nets.size(); ++i) Measure(nets[i], batches[i], i, &stages);
    progress->Step();
  }
  for (StageTimes& stage : stages) AddRows(options, rows, length, std::move(stage), table);
}

}  // namespace

BenchReport Bench(const BenchOptions& options, const Console& console) {
  at::NoGradGuard no_gradients;
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  BenchReport report;
  report.device = DeviceName(compute);
  report.dtype = DtypeName(compute);
  report.threads = at::get_num_threads();
  std::vector<Network> nets;
  for (const std::filesystem::path& folder : options.models) {
    nets.push_back(Bind(LoadModel(folder), compute));
    if (nets.back().spec.task != nets.front().spec.task &&
        (nets.back().spec.task == Task::kLanguageModel ||
         nets.front().spec.task == Task::kLanguageModel)) {
      ThrowUsage(
          {.what = "a language model and an encoder cannot be compared", .where = folder.string()});
    }
    for (const int64_t length : options.lengths) {
      if (length <= nets.back().spec.max_tokens) continue;
      ThrowUsage({.what = "length is beyond the model's inputs",
                  .where = folder.string(),
                  .expected = fmt::format("at most {}", nets.back().spec.max_tokens),
                  .found = fmt::to_string(length)});
    }
  }
  const auto shapes = static_cast<int64_t>(options.batches.size() * options.lengths.size());
  Progress progress(console, "bench", shapes * options.repeats);
  for (const int64_t rows : options.batches) {
    for (const int64_t length : options.lengths)
      BenchShape(options, nets, rows, length, &progress, &report.rows);
  }
  return report;
}

}  // namespace coppice
