// The text of src/latency/time_onnx.py; CMake puts it into the program.
#pragma once

#include <string_view>

namespace coppice {

extern const std::string_view kTimeOnnxScript;

}  // namespace coppice
