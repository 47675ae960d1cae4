#include "model/batch.h"

#include <ATen/ATen.h>

namespace coppice {

at::Tensor RealRows(const Batch& batch, const at::Tensor& x) {
  const at::Tensor rows = x.flatten(0, 1);
  return batch.padded ? rows.index_select(0, batch.real) : rows;
}

at::Tensor NextTokens(const Batch& batch) {
  at::Tensor next = at::full_like(batch.ids, kNoToken);
  if (batch.ids.size(1) > 1) {
    const at::Tensor later = batch.ids.slice(1, 1);
    next.slice(1, 0, -1).copy_(later.masked_fill(batch.mask.slice(1, 1).logical_not(), kNoToken));
  }
  if (batch.next.defined()) {
    const at::Tensor last = batch.mask.sum(1, /*keepdim=*/true) - 1;  // of each row
    next.scatter_(1, last, batch.next.unsqueeze(1));
  }
  return next;
}

}  // namespace coppice
