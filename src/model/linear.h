// Products and activations of the forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"

namespace coppice {

// x W' + b in the weight's dtype. x: (..., in). A matrix without rows or columns is allowed: no
// inputs leave the bias alone.
at::Tensor Apply(const Linear& linear, const at::Tensor& x);

at::Tensor Activate(const at::Tensor& x, Activation activation);

}  // namespace coppice
