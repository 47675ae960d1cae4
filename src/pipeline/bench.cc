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

double Quantile(std::vector<double> sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

void BenchShape(const BenchOptions& options, const std::vector<Network>& nets, int64_t rows,
                int64_t length, Progress* progress, std::vector<BenchRow>* table) {
  std::vector<Batch> batches;
  std::vector<std::vector<double>> times(nets.size());
  for (const Network& net : nets) {
    batches.push_back(RandomBatch(net.spec, rows, length, net.compute.device));
    for (int warm_up = 0; warm_up < 2; ++warm_up) MeasureMs(net, batches.back());
  }
  const double start = Now();
  for (int64_t round = 0; round < options.repeats && (round < 3 || Now() - start < options.seconds);
       ++round) {
    for (size_t i = 0; i < nets.size(); ++i) times[i].push_back(MeasureMs(nets[i], batches[i]));
    progress->Step();
  }
  double baseline = 0;
  for (size_t i = 0; i < nets.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    BenchRow row{.model = options.models[i].string(), .batch = rows, .length = length};
    row.repeats = static_cast<int64_t>(times[i].size());
    row.median_ms = Quantile(times[i], 0.5);
    row.low_ms = Quantile(times[i], 0.1);
    row.high_ms = Quantile(times[i], 0.9);
    if (i == 0) baseline = row.median_ms;
    row.speedup = baseline / row.median_ms;
    table->push_back(row);
  }
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
