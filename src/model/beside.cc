#include "model/beside.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>

namespace coppice {

std::optional<c10::Event> AskedSoFar(const Compute& compute) {
  if (compute.device.is_cpu()) return {};
  const c10::impl::VirtualGuardImpl device(compute.device.type());
  std::optional<c10::Event> asked(std::in_place, compute.device.type());
  asked->record(device.getStream(compute.device));
  return asked;
}

OwnStream::OwnStream(const Compute& compute, std::optional<c10::Event>* before) {
  if (compute.device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl device(compute.device.type());
  stream_ = device.getStreamFromGlobalPool(compute.device);
  if (*before) (*before)->block(*stream_);
  guard_.emplace(*stream_);
}

OwnStream::~OwnStream() {
  try {
    if (stream_) stream_->synchronize();
  } catch (const std::exception&) {  // a device that failed says so again to whoever asks next
  }
}

}  // namespace coppice
