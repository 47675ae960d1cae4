// Hidden states of one batch between two sub-layers, kept in memory or, where all batches together
// are too large, in a file that vanishes with the process.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace coppice {

// Hidden states of all batches of a stream that stay in memory, at most.
inline constexpr int64_t kStreamBytes = int64_t{4} << 30;

class ResidualStream {
 public:
  // hidden: (B, T, D) float32, any device. on_disk: back it by a file in the folder for temporary
  // files; throws Error (kEnvironment) when that cannot be made.
  ResidualStream(const at::Tensor& hidden, bool on_disk);

  // (B, T, D) float32 on the device it came from.
  at::Tensor Get() const { return file_.defined() ? file_.to(device_) : hidden_; }
  void Set(const at::Tensor& hidden);

 private:
  at::Device device_;
  at::Tensor hidden_;  // in memory
  at::Tensor file_;    // or on disk
};

}  // namespace coppice
