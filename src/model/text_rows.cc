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
  if (!batch.padded) return rows;
  rows.starts = rows.lengths.cumsum(0) - rows.lengths;
  rows.real = batch.real;
  return rows;
}

at::Tensor Unpacked(const TextRows& texts, const at::Tensor& rows) {
  if (!texts.packed) return rows;
  const int64_t width = rows.size(1);
  if (!texts.real.defined()) return rows.reshape({texts.texts, texts.longest, width});
  return at::zeros({texts.texts * texts.longest, width}, rows.options())
      .index_copy_(0, texts.real, rows)
      .view({texts.texts, texts.longest, width});
}

at::Tensor FirstOfEach(const TextRows& texts, const at::Tensor& rows) {
  return texts.starts.defined() ? rows.index_select(0, texts.starts)
                                : Unpacked(texts, rows).select(1, 0);
}

at::Tensor Packed(const TextRows& texts, const at::Tensor& padded) {
  if (!texts.packed) return padded;
  const at::Tensor rows = padded.flatten(0, 1);
  return texts.real.defined() ? rows.index_select(0, texts.real) : rows;
}

}  // namespace coppice
