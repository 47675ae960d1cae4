#include "latency/run_once.h"

#include <ATen/ATen.h>

#include "core/console.h"
#include "core/random.h"
#include "model/forward.h"
#include "model/generate.h"

namespace coppice {

Batch RandomBatch(const ModelSpec& spec, int64_t rows, int64_t tokens, const Compute& compute) {
  Random random(0);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < rows * tokens; ++i) {
    const int64_t id = random.Below(spec.vocabulary);  // any but padding, where there is another
    ids.push_back(id == spec.pad_id ? (id + 1) % spec.vocabulary : id);
  }
  Batch batch;
  batch.ids = at::tensor(ids, at::kLong).view({rows, tokens}).to(compute.device);
  batch.type_ids = at::zeros_like(batch.ids);
  batch.mask = at::ones({rows, tokens}, batch.ids.options().dtype(at::kBool));
  for (int64_t row = 0; row < rows; ++row) batch.samples.push_back(row);
  return batch;
}

double MeasureReading(const Network& net, const Batch& batch) {
  const double start = Now();
  if (net.spec.task == Task::kLanguageModel) {
    Generation generation;
    Extend(net, batch.ids, &generation).to(at::kCPU);
  } else {
    Forward(net, batch).to(at::kCPU);  // the copy waits for the device
  }
  return (Now() - start) * 1e3;
}

GenerationMs MeasureGeneration(const Network& net, const Batch& batch) {
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

}  // namespace coppice
