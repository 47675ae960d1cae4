# Headers that most sources above LibTorch include, compiled once for the libraries and once for the test programs: they are
# two thirds of such a source's compile time. Sources include what they use all the same: clang-tidy reads them without.
# ccache needs what scripts/common.sh sets.
#   coppice_headers(TARGET)    the layer `load` and its test program compile them, later ones take theirs
function(coppice_headers target)
  if(target MATCHES "_test$")
    set(owner coppice_load_test)
    set(headers <ATen/ATen.h> <fmt/format.h> <gtest/gtest.h> <nlohmann/json.hpp>)
  else()
    set(owner coppice_load)
    set(headers <ATen/ATen.h> <fmt/format.h> <nlohmann/json.hpp>)
  endif()
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${headers})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()
