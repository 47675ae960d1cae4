#include "model/finite.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace coppice {

bool AllFinite(const std::vector<at::Tensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const at::Tensor& x) { return x.isfinite().all().item<bool>(); });
}

void ThrowNotFinite(const Model& model, const std::string& what) {
  for (const auto& [name, tensor] : model.tensors) {
    if (!tensor.is_floating_point() || AllFinite({tensor})) continue;
    ThrowBadInput({.what = what + " are no finite numbers",
                   .where = fmt::format("{}: tensor \"{}\"", model.source.string(), name),
                   .expected = "finite weights",
                   .found = tensor.isnan().any().item<bool>() ? "NaN" : "infinity"});
  }
  ThrowBadInput({.what = what + " are no finite numbers",
                 .where = model.source.string(),
                 .hint = "activations overflow; try --dtype float32"});
}

}  // namespace coppice
