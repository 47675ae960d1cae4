#include "eval/run_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "eval/language_model.h"
#include "model/forward.h"

namespace coppice {

std::vector<at::Tensor> RunModel(const Network& net, const Samples& samples,
                                 const Console& console) {
  const bool language = net.spec.task == Task::kLanguageModel;
  const int64_t batch_tokens = language ? BatchTokens(net.spec) : 4096;
  at::NoGradGuard no_gradients;
  std::vector<at::Tensor> outputs(samples.samples.size());
  at::Tensor room;  // for logits
  Progress progress(console, "evaluate", static_cast<int64_t>(outputs.size()));
  for (const Batch& batch : MakeBatches(samples, net.spec, batch_tokens, net.compute.device)) {
    const at::Tensor hidden = RunSubLayers(net, batch);
    const at::Tensor output = (language ? NextTokenLogProbabilities(net, hidden, batch, &room)
                                        : ApplyHead(net, hidden, batch))
                                  .to(at::kCPU);
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
