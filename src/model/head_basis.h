// Other coordinates inside the heads of a sub-layer, in which numbers are ordered by what they
// matter. A head's values may be turned by any orthogonal matrix that the output projection turns
// back, and the model stays what it was; its queries by any matrix whose inverse turns its keys,
// or, where positions rotate both, the order of pairs may change. Shrink() then keeps the first
// numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/plan.h"
#include "model/model.h"

namespace coppice {

struct HeadBasis {
  at::Tensor values;  // (units, F, F) float64, orthogonal: new number j is column j; or undefined
  // (units, K, K) float64, the one's transpose the other's inverse, where nothing turns; or
  // undefined.
  at::Tensor query, key;
  std::vector<int64_t> pairs;  // where pairs turn: all of them in the new order; or empty
};

// The model with the heads that `plan` narrows in their basis: of each sub-layer, values before the
// cut of Shrink(). Tensors keep their dtypes. bases: of every sub-layer; may be empty where no head
// is narrowed.
Model InBasis(const Model& model, const Plan& plan, const std::vector<HeadBasis>& bases);

}  // namespace coppice
