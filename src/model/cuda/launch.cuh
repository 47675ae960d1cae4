// What follows the launch of a kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace coppice::cuda {

// A kernel that does not start was asked for a shape that it is not for. One that fails later is
// reported by whoever waits for the device.
inline void CheckLaunch() {
  const cudaError_t error = cudaGetLastError();
  Check(error == cudaSuccess, std::string("a kernel does not start: ") + cudaGetErrorString(error));
}

}  // namespace coppice::cuda
