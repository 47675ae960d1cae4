// Activations of bfloat16 numbers on the CPU, looked up: there are 65,536 such numbers, and those
// that activations usually meet have their places in the nearest caches. On one core that is .3 ns
// a number and .4 backward, where LibTorch computes for .4 and .7; and it is the exact value,
// rounded once.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/model.h"

namespace coppice {

// Whether Tabled() is for these numbers: bfloat16 on the CPU, an activation with an exponential.
bool HasTable(const at::Tensor& x, Activation activation);

// The activation of x. Differentiable.
at::Tensor Tabled(const at::Tensor& x, Activation activation);

}  // namespace coppice
