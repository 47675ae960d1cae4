#include "model/at_once.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

namespace coppice {

void ForEachAtOnce(const Compute& compute, int64_t count,
                   const std::function<void(int64_t)>& work) {
  if (!compute.device.is_cpu() || count == 1) {
    for (int64_t k = 0; k < count; ++k) work(k);
    return;
  }
  const bool with_gradients = at::GradMode::is_enabled();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const at::AutoGradMode mode(with_gradients);
    for (int64_t k = begin; k < end; ++k) work(k);
  });
}

int64_t AtOnce(const Compute& compute) {
  return compute.device.is_cpu() && !at::in_parallel_region() ? at::get_num_threads() : 1;
}

}  // namespace coppice
