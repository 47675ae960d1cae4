#include "model/text_rows.h"

#include <ATen/ATen.h>

namespace coppice {

cuda::Texts TextRows::ForKernels() const {
  return {texts, longest, starts.defined() ? starts.const_data_ptr<int64_t>() : nullptr,
          lengths.defined() ? lengths.const_data_ptr<int64_t>() : nullptr};
}

TextRows PaddedRows(const Batch& batch) {
  TextRows rows{batch.ids.size(0), batch.ids.size(1), false, {}, {}};
  if (batch.padded) rows.lengths = batch.mask.sum(1);
  return rows;
}

TextRows PackedRows(const Batch& batch) {
  TextRows rows = PaddedRows(batch);
  rows.packed = true;
  if (batch.padded) rows.starts = rows.lengths.cumsum(0) - rows.lengths;
  return rows;
}

at::Tensor Unpacked(const Batch& batch, const at::Tensor& rows) {
  const int64_t texts = batch.ids.size(0), tokens = batch.ids.size(1);
  if (!batch.padded) return rows.view({texts, tokens, rows.size(1)});
  return at::zeros({texts * tokens, rows.size(1)}, rows.options())
      .index_copy_(0, batch.real, rows)
      .view({texts, tokens, rows.size(1)});
}

}  // namespace coppice
