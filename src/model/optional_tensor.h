// Tensors as functions of autograd take them.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace coppice {

// They take no undefined tensors: those are absent.
inline std::optional<at::Tensor> Optional(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

}  // namespace coppice
