#include "model/batch.h"

#include <ATen/ATen.h>

namespace coppice {

at::Tensor RealRows(const Batch& batch, const at::Tensor& x) {
  return batch.padded ? x.index({batch.mask}) : x.flatten(0, 1);
}

}  // namespace coppice
