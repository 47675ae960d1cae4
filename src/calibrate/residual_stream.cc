#include "calibrate/residual_stream.h"

#include <ATen/ATen.h>

#include "load/mapped_tensor.h"

namespace coppice {

Place PlaceFor(const Compute& compute, int64_t bytes) {
  constexpr int64_t kDeviceBytes = int64_t{10} << 30;
  if (compute.device.is_cuda() && bytes <= kDeviceBytes) return Place::kDevice;
  if (bytes > compute.memory) return Place::kFile;
  return compute.device.is_cuda() ? Place::kMemory : Place::kDevice;
}

ResidualStream::ResidualStream(const at::Tensor& hidden, Place place)
    : device_(hidden.device()), place_(place) {
  if (place == Place::kFile) {
    hidden_ = InFile(hidden);
  } else {
    Set(hidden);
  }
}

at::Tensor ResidualStream::Get() const {
  if (place_ != Place::kFile) return hidden_.to(device_);
  const at::Tensor read = hidden_.to(device_, hidden_.scalar_type(), /*non_blocking=*/false,
                                     /*copy=*/true);
  DropPages(hidden_);
  return read;
}

void ResidualStream::Set(const at::Tensor& hidden) {
  if (place_ == Place::kDevice) {
    hidden_ = hidden;
    return;
  }
  if (!hidden_.defined()) {
    // Pinned: a GPU's copies from and to other memory go through a small buffer of the driver's.
    hidden_ = at::empty(hidden.sizes(),
                        hidden.options().device(at::kCPU).pinned_memory(device_.is_cuda()));
  }
  hidden_.copy_(hidden);
  if (place_ == Place::kFile) DropPages(hidden_);
}

}  // namespace coppice
