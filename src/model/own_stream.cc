#include "model/own_stream.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace coppice {

OwnStream::OwnStream(const Compute& compute) {
  if (compute.device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl device(compute.device.type());
  c10::Event before(compute.device.type());
  before.record(device.getStream(compute.device));
  stream_ = device.getStreamFromGlobalPool(compute.device);
  before.block(*stream_);
  guard_.emplace(*stream_);
}

OwnStream::~OwnStream() {
  if (stream_) stream_->synchronize();
}

void WarmUp(const Compute& compute) {
  if (compute.device.is_cpu()) return;
  at::NoGradGuard no_gradients;
  const OwnStream stream(compute);
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
