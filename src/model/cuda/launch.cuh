// What goes before the launch of a kernel and follows it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "core/error.h"

namespace coppice::cuda {

// Of so many each, for all there are.
inline unsigned Blocks(int64_t count, int64_t of_block) {
  return static_cast<unsigned>((count + of_block - 1) / of_block);
}

// A kernel that does not start was asked for a shape that it is not for. One that fails later is
// reported by whoever waits for the device.
inline void CheckLaunch() {
  const cudaError_t error = cudaGetLastError();
  Check(error == cudaSuccess, std::string("a kernel does not start: ") + cudaGetErrorString(error));
}

}  // namespace coppice::cuda
