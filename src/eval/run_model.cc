#include "eval/run_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "eval/language_model.h"
#include "model/at_once.h"
#include "model/forward.h"

namespace coppice {
namespace {

// Of a row of a batch's outputs what belongs to its sample, whose padding is cut away.
at::Tensor OfSample(Task task, const at::Tensor& row, const Sample& sample) {
  if (task == Task::kLanguageModel) return row.slice(0, 0, sample.followed());
  return task == Task::kQuestionAnswering ? row.slice(0, 0, sample.tokens()) : row;
}

// As ApplyHead() gives them, of a language model the log-probabilities of the next tokens. room:
// for its logits, see model/logits.h.
at::Tensor RunBatch(const Network& net, const Batch& batch, at::Tensor* room) {
  const at::Tensor hidden = RunSubLayers(net, batch);
  return net.spec.task == Task::kLanguageModel ? NextTokenLogProbabilities(net, hidden, batch, room)
                                               : ApplyHead(net, hidden, batch);
}

}  // namespace

std::vector<at::Tensor> RunModel(const Network& net, const Samples& samples,
                                 const Console& console) {
  at::NoGradGuard no_gradients;
  const std::vector<Batch> batches =
      MakeBatches(samples, net.spec, UsualBatchTokens(net.compute.device), net.compute.device);
  const auto count = static_cast<int64_t>(batches.size());
  std::vector<at::Tensor> found(batches.size());  // on the device, which need not be waited for
  Progress progress(console, "evaluate", static_cast<int64_t>(samples.samples.size()));
  // A run of batches a thread; matrices that stream are fetched for one alone.
  const int64_t runs = net.streamed ? 1 : std::min(count, AtOnce(net.compute));
  ForEachAtOnce(net.compute, runs, [&](int64_t k) {
    at::Tensor room;
    for (int64_t i = count * k / runs; i < count * (k + 1) / runs; ++i) {
      const Batch& batch = batches[static_cast<size_t>(i)];
      found[static_cast<size_t>(i)] = RunBatch(net, batch, &room);
      progress.Step(batch.rows());
    }
  });
  std::vector<at::Tensor> outputs(samples.samples.size());
  for (size_t i = 0; i < batches.size(); ++i) {
    const std::vector<at::Tensor> rows = found[i].to(at::kCPU).unbind();
    for (size_t row = 0; row < rows.size(); ++row) {
      const auto index = static_cast<size_t>(batches[i].samples[row]);
      outputs[index] = OfSample(net.spec.task, rows[row], samples.samples[index]);
    }
  }
  return outputs;
}

}  // namespace coppice
