#include "model/ahead.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <utility>

namespace coppice {
namespace {

bool AreSame(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return x.is_same(y); });
}

}  // namespace

Ahead::Ahead(at::Device device, at::ScalarType dtype)
    : device_(device),
      dtype_(dtype),
      stream_(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)) {}

void Ahead::Begin(size_t number, const std::vector<at::Tensor>& sources) {
  if (uploads_.count(number) > 0) return;
  const auto copy = [sources, device = device_, dtype = dtype_, stream = stream_] {
    at::NoGradGuard no_gradients;
    const c10::StreamGuard on_stream(stream);
    Copies copies{{}, c10::Event(device.type())};
    for (const at::Tensor& source : sources)
      copies.tensors.push_back(source.to(device).to(dtype).contiguous());
    copies.done.record(stream);
    return copies;
  };
  uploads_[number] = {sources, std::async(std::launch::async, copy)};
}

std::optional<std::vector<at::Tensor>> Ahead::Take(size_t number,
                                                   const std::vector<at::Tensor>& sources) {
  auto node = uploads_.extract(number);
  if (node.empty() || !AreSame(node.mapped().sources, sources)) return {};
  Copies copies = node.mapped().copies.get();
  const c10::Stream reader = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  copies.done.block(reader);
  for (const at::Tensor& tensor : copies.tensors) tensor.record_stream(reader);
  return std::move(copies.tensors);
}

}  // namespace coppice
