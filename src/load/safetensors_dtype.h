// The dtypes that exist in safetensors files, and the torch dtypes of those we compute on or pass
// on.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace coppice {

struct SafetensorsDtype {
  std::string_view name;                     // as in the file
  uint64_t bits;                             // of one element
  std::optional<c10::ScalarType> type = {};  // nothing: known by size only
};

// The row of that name or torch dtype, or nullptr when there is none.
const SafetensorsDtype* FindSafetensorsDtype(std::string_view name);
const SafetensorsDtype* FindSafetensorsDtype(c10::ScalarType type);

}  // namespace coppice
