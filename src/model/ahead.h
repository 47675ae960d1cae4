// Matrices on their way to a device before they are wanted: a thread copies them on a stream of its
// own, so that copies run beside what the device computes.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <future>
#include <map>
#include <optional>
#include <vector>

namespace coppice {

// Used by one thread. Waits for what is under way when it goes.
class Ahead {
 public:
  // device: not the CPU.
  Ahead(at::Device device, at::ScalarType dtype);

  // Begins to copy `sources` to the device and dtype, unless something waits under that number.
  void Begin(size_t number, const std::vector<at::Tensor>& sources);

  // Copies of those very sources, for this thread's stream; nothing where others or none were begun
  // under the number, which is free again. Throws what the copying threw.
  std::optional<std::vector<at::Tensor>> Take(size_t number,
                                              const std::vector<at::Tensor>& sources);

 private:
  struct Copies {
    std::vector<at::Tensor> tensors;
    c10::Event done;
  };
  struct Upload {
    std::vector<at::Tensor> sources;
    std::future<Copies> copies;
  };
  at::Device device_;
  at::ScalarType dtype_;
  c10::Stream stream_;  // one, since memory that was taken on a stream is used again on it alone
  std::map<size_t, Upload> uploads_;
};

}  // namespace coppice
