#include "eval/run_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "eval/language_model.h"
#include "model/forward.h"

namespace coppice {

at::Tensor RunBatch(const Network& net, const Batch& batch, at::Tensor* room) {
  const at::Tensor hidden = RunSubLayers(net, batch);
  return net.spec.task == Task::kLanguageModel ? NextTokenLogProbabilities(net, hidden, batch, room)
                                               : ApplyHead(net, hidden, batch);
}

std::vector<at::Tensor> RunModel(const Network& net, const Samples& samples,
                                 const Console& console) {
  const bool language = net.spec.task == Task::kLanguageModel;
  const int64_t batch_tokens = language ? BatchTokens(net.spec) : 4096;
  at::NoGradGuard no_gradients;
  std::vector<at::Tensor> outputs(samples.samples.size());
  at::Tensor room;
  Progress progress(console, "evaluate", static_cast<int64_t>(outputs.size()));
  for (const Batch& batch : MakeBatches(samples, net.spec, batch_tokens, net.compute.device)) {
    const at::Tensor output = RunBatch(net, batch, &room).to(at::kCPU);
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const auto index = static_cast<size_t>(batch.samples[static_cast<size_t>(row)]);
      const int64_t tokens = samples.samples[index].tokens();
      const at::Tensor one = output[row];
      outputs[index] = language ? one.slice(0, 0, samples.samples[index].followed()).clone()
                       : net.spec.task == Task::kQuestionAnswering ? one.slice(0, 0, tokens).clone()
                                                                   : one.clone();
    }
    progress.Step(batch.rows());
  }
  return outputs;
}

}  // namespace coppice
