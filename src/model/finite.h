// Numbers that are none: found where they show, in outputs and losses, and named by the tensor that
// they come from.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/model.h"

namespace coppice {

bool AllFinite(const std::vector<at::Tensor>& tensors);

// Throws Error (kBadInput): `what` is not finite, since that tensor of the model is not, or no
// tensor is to blame and the dtype is too small. Reads all weights.
[[noreturn]] void ThrowNotFinite(const Model& model, const std::string& what);

}  // namespace coppice
