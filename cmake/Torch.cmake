# The only place that knows where LibTorch is: the one inside an installed Python torch package.
# Order: CMAKE_PREFIX_PATH or Torch_DIR given by the caller, the project's own environment under build/venv, python3.
set(COPPICE_TORCH_PYTHON python3 CACHE STRING "The Python whose torch this is")
if(NOT Torch_DIR)
  foreach(python "$ENV{COPPICE_PYTHON}" "${CMAKE_SOURCE_DIR}/build/venv/bin/python" python3)
    if(python STREQUAL "")
      continue()
    endif()
    execute_process(
      COMMAND "${python}" -c "import torch.utils; print(torch.utils.cmake_prefix_path)"
      OUTPUT_VARIABLE torch_prefix RESULT_VARIABLE torch_result ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(torch_result EQUAL 0)
      list(APPEND CMAKE_PREFIX_PATH "${torch_prefix}")
      set(COPPICE_TORCH_PYTHON "${python}" CACHE STRING "The Python whose torch this is" FORCE)
      break()
    endif()
  endforeach()
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # of a CUDA build: torch's, which knows the current device
find_package(Torch REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)  # at::parallel_for is a plain loop in sources compiled without it

# TORCH_LIBRARIES carries include folders that are not marked SYSTEM; wrap them once so that our warnings stay ours.
add_library(coppice_torch INTERFACE)
target_link_libraries(coppice_torch INTERFACE ${TORCH_LIBRARIES} OpenMP::OpenMP_CXX)
target_include_directories(coppice_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
string(REPLACE " " ";" torch_flags "${TORCH_CXX_FLAGS}")
target_compile_options(coppice_torch INTERFACE ${torch_flags})
