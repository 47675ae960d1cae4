// Products and activations of the forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/network.h"

namespace coppice {

// x W' + b in the weight's dtype. x: (..., in). A matrix without rows or columns is allowed: no
// inputs leave the bias alone.
at::Tensor Apply(const Linear& linear, const at::Tensor& x);

// The same in float32. On a GPU products are summed in it and written in it; on the CPU they are in
// the weight's dtype first. Differentiable by x alone.
at::Tensor ApplyInFloat(const Linear& linear, const at::Tensor& x);

// The outputs of several linear layers with one input, which have `rows` outputs each; the layers
// may be one, joined.
std::vector<at::Tensor> ApplyAll(const std::vector<Linear>& layers, const at::Tensor& x,
                                 at::IntArrayRef rows);

at::Tensor Activate(const at::Tensor& x, Activation activation);

// Its derivative at x.
at::Tensor Slope(const at::Tensor& x, Activation activation);

}  // namespace coppice
