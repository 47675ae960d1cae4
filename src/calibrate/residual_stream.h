// Hidden states of one batch between two sub-layers, kept where all batches together have room:
// where they are computed, in the machine's memory, or in a file that vanishes with the process.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/network.h"

namespace coppice {

enum class Place { kDevice, kMemory, kFile };

// The nearest place with room for `bytes`: compute.memory of the machine's, 10 GiB of a GPU's.
Place PlaceFor(const Compute& compute, int64_t bytes);

class ResidualStream {
 public:
  // hidden: (B, T, D) any dtype and device, which Get() gives again. Throws Error (kEnvironment)
  // when there is no room in the folder for temporary files.
  ResidualStream(const at::Tensor& hidden, Place place);

  at::Tensor Get() const;              // (B, T, D)
  void Set(const at::Tensor& hidden);  // of the same shape

 private:
  at::Device device_;
  Place place_;
  at::Tensor hidden_;
};

}  // namespace coppice
