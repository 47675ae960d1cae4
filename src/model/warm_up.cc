#include "model/warm_up.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace coppice {

void WarmUp(const Compute& compute) {
  at::NoGradGuard no_gradients;
  constexpr int64_t kSize = 64;
  for (const at::ScalarType dtype : {compute.dtype, at::kFloat, at::kDouble}) {
    const at::Tensor x = at::eye(kSize, at::TensorOptions(dtype).device(compute.device));
    at::addmm(x.select(0, 0), x, x);
    at::bmm(x.unsqueeze(0), x.unsqueeze(0));
    if (dtype == at::kBFloat16) continue;
    const at::Tensor factor = std::get<0>(at::linalg_cholesky_ex(x));
    at::cholesky_solve(x, factor);
    at::cholesky_inverse(factor);
  }
}

}  // namespace coppice
