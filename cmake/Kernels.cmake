# Kernels of our own for NVIDIA GPUs (src/model/cuda), where the torch that was found is a CUDA build; finding it has enabled the
# language CUDA then. Other builds neither need nvcc nor have them: no_kernels.cc says so to those who ask.
#
# Machine code for the GPUs that they are tuned on (compute capability 9.0), and PTX for 8.0, of which the driver of any other
# makes its own.
set(kernels "${CMAKE_SOURCE_DIR}/src/model/cuda")
if(NOT TORCH_CUDA_LIBRARIES)
  target_sources(coppice_model PRIVATE "${kernels}/no_kernels.cc")
  return()
endif()
set(CMAKE_CUDA_FLAGS "")  # torch's are for extensions of its own
add_library(coppice_kernels STATIC "${kernels}/attention.cu" "${kernels}/distribution.cu" "${kernels}/gelu.cu" "${kernels}/norm.cu"
  "${kernels}/rms_norm.cu" "${kernels}/rotation.cu" "${kernels}/row_sums.cu" "${kernels}/silu.cu"
  "${kernels}/unit_sums.cu")
target_link_libraries(coppice_kernels PRIVATE coppice_core)
set_target_properties(coppice_kernels PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
  CUDA_ARCHITECTURES "90-real;80-virtual")
target_sources(coppice_model PRIVATE "${kernels}/device.cc" "${kernels}/products.cc")
target_link_libraries(coppice_model PRIVATE coppice_kernels CUDA::cublasLt)
