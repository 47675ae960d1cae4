// Images drawn from a class-conditional model, token by token, with keys and values kept.
//
// Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, as LlamaGen has it): each image
// runs with its class and again with the null class, and its logits are
// null + s (class - null); then temperature, the k likeliest tokens, and one is drawn. Random
// numbers come from outside, one in [0, 1) a token: the token is the first whose summed probability
// exceeds it. So the result does not depend on device or batch but for rounding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/network.h"

namespace coppice {

struct ImageSampling {
  double guidance = 1;     // s; 1 runs without the null class
  double temperature = 1;  // above 0
  int64_t top_k = 0;       // likeliest tokens drawn from; 0: all
};

// Tokens (N, grid * grid) int64 on the network's device. classes: (N) int64; uniforms: (N, grid *
// grid) float64; both on any device. All images are drawn together; the caller cuts them into
// batches that fit the memory.
at::Tensor SampleImages(const Network& net, const at::Tensor& classes, const at::Tensor& uniforms,
                        const ImageSampling& options);

}  // namespace coppice
