#include "model/batch.h"

#include <ATen/ATen.h>

namespace coppice {

at::Tensor RealRows(const Batch& batch, const at::Tensor& x) {
  const at::Tensor rows = x.flatten(0, 1);
  return batch.padded ? rows.index_select(0, batch.real) : rows;
}

}  // namespace coppice
