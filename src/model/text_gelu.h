// GELU of a feed-forward sub-layer's channels on a GPU, one kernel each way (model/cuda/gelu.cu);
// the backward one gives the gradients of the channels' masks as well, since it has what they are
// made of at hand. As exact as bfloat16 is: see Phi() there.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/network.h"
#include "model/text_rows.h"

namespace coppice {

// Whether TextGelu() is for the sub-layer of this network: bfloat16 on a GPU that the kernels are
// for, channels in eights.
bool HasTextGelu(const Network& net, const SubLayer& sub);

// x Phi(x). x: (B, T, C) or, packed, (M, C) bfloat16. mask: a leaf of autograd, (B, C) float32 ones
// that are not read: the gradient by it is that by a mask on each channel; may be undefined.
at::Tensor TextGelu(const at::Tensor& x, const TextRows& texts, const at::Tensor& mask);

}  // namespace coppice
