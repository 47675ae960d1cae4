#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "model/cuda/kernels.h"
#include "model/cuda/products.h"

namespace coppice::cuda {

// Products of bfloat16 and copies to shared memory came with compute capability 8.
bool Available(int device) {
  int major = 0;
  return (device >= 0 || cudaGetDevice(&device) == cudaSuccess) &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 8;
}

std::string NameOf(int device) {
  cudaDeviceProp properties;
  if (device < 0 && cudaGetDevice(&device) != cudaSuccess) return {};
  return cudaGetDeviceProperties(&properties, device) == cudaSuccess ? properties.name : "";
}

Stream CurrentStream() { return c10::cuda::getCurrentCUDAStream(); }

void* ProductHandle() { return at::cuda::getCurrentCUDABlasLtHandle(); }

}  // namespace coppice::cuda
