// The text of src/export/modeling_coppice.py, by which transformers loads models whose layers
// differ in size; CMake puts it into the program.
#pragma once

#include <string_view>

namespace coppice {

extern const std::string_view kModelingCode;

}  // namespace coppice
