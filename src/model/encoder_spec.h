// From a family's table and a config to a checked ModelSpec.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "model/encoder_family.h"
#include "model/model.h"

namespace coppice {

// Fills the spec, adds per-layer copies of a shared relative bias to `tensors`, and checks name,
// dtype and shape of every tensor. Throws Error (kBadInput).
ModelSpec MakeEncoderSpec(const EncoderFamily& family, const nlohmann::ordered_json& config,
                          std::map<std::string, at::Tensor>* tensors, const std::string& where);

}  // namespace coppice
