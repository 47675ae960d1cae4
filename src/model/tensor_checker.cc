#include "model/tensor_checker.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace coppice {

const at::Tensor& TensorChecker::Expect(const std::string& name,
                                        const std::vector<int64_t>& shape) {
  known_.insert(name);
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    ThrowBadInput({.what = "tensor is missing",
                   .where = Where(name),
                   .expected = fmt::format("shape [{}]", fmt::join(shape, ", "))});
  }
  const at::Tensor& tensor = found->second;
  if (!tensor.sizes().equals(shape)) {
    ThrowBadInput({.what = "shape disagrees with config.json",
                   .where = Where(name),
                   .expected = fmt::format("[{}]", fmt::join(shape, ", ")),
                   .found = fmt::format("[{}]", fmt::join(tensor.sizes().vec(), ", "))});
  }
  const auto type = tensor.scalar_type();
  if (type != at::kFloat && type != at::kHalf && type != at::kBFloat16) {
    ThrowBadInput({.what = "dtype cannot be computed with",
                   .where = Where(name),
                   .expected = "F32, F16 or BF16",
                   .found = c10::toString(type)});
  }
  return tensor;
}

void TensorChecker::ExpectLinear(const std::string& name, int64_t out, int64_t in) {
  Expect(name + ".weight", {out, in});
  Expect(name + ".bias", {out});
}

bool TensorChecker::ExpectLinearMaybeBias(const std::string& name, int64_t out, int64_t in) {
  Expect(name + ".weight", {out, in});
  if (tensors_.count(name + ".bias") == 0) return false;
  Expect(name + ".bias", {out});
  return true;
}

void TensorChecker::ExpectNorm(const std::string& name, int64_t width) {
  Expect(name + ".weight", {width});
  Expect(name + ".bias", {width});
}

void TensorChecker::RefuseUnknown(const std::vector<std::string>& unused_prefixes) const {
  for (const auto& [name, tensor] : tensors_) {
    bool known = known_.count(name) > 0;
    for (const std::string& prefix : unused_prefixes) known = known || name.starts_with(prefix);
    if (!known) {
      ThrowBadInput({.what = "tensor is not known to this model family",
                     .where = Where(name),
                     .hint = "adapters and custom layers must be merged or removed first"});
    }
  }
}

std::string TensorChecker::Where(const std::string& name) const {
  return fmt::format("{}: tensor \"{}\"", where_, Printable(name));
}

}  // namespace coppice
