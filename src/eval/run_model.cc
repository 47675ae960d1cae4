#include "eval/run_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/forward.h"

namespace coppice {

std::vector<at::Tensor> RunModel(const Network& net, const Samples& samples,
                                 const Console& console) {
  constexpr int64_t kBatchTokens = 4096;
  at::NoGradGuard no_gradients;
  std::vector<at::Tensor> outputs(samples.samples.size());
  Progress progress(console, "evaluate", static_cast<int64_t>(outputs.size()));
  for (const Batch& batch : MakeBatches(samples, net.spec, kBatchTokens, net.compute.device)) {
    const at::Tensor output = Forward(net, batch).to(at::kCPU);
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const auto index = static_cast<size_t>(batch.samples[static_cast<size_t>(row)]);
      const at::Tensor one = output[row];
      outputs[index] = net.spec.task == Task::kQuestionAnswering
                           ? one.slice(0, 0, samples.samples[index].tokens()).clone()
                           : one.clone();
    }
    progress.Step(batch.rows());
  }
  return outputs;
}

}  // namespace coppice
