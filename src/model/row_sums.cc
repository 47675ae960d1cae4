#include "model/row_sums.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace coppice {
namespace {

// sums: (I) zeros.
template <typename Number>
void AddRows(const at::Tensor& x, double* sums) {
  constexpr int64_t kColumns = 256;  // whose sums stay in the nearest cache
  const int64_t rows = x.size(0), columns = x.size(1);
  const Number* numbers = x.const_data_ptr<Number>();
  at::parallel_for(0, (columns + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kColumns;
      const int64_t last = std::min(first + kColumns, columns);
      for (int64_t row = 0; row < rows; ++row) {
        const Number* values = numbers + row * columns;
        for (int64_t c = first; c < last; ++c) sums[c] += static_cast<float>(values[c]);
      }
    }
  });
}

}  // namespace

at::Tensor SumOfRows(const at::Tensor& x) {
  const bool coarse = x.scalar_type() == at::kBFloat16;
  if (!x.is_cpu() || !(coarse || x.scalar_type() == at::kFloat))
    return x.sum(0, /*keepdim=*/false, at::kDouble);
  at::Tensor sums = at::zeros({x.size(1)}, x.options().dtype(at::kDouble));
  const at::Tensor rows = x.contiguous();
  double* into = sums.mutable_data_ptr<double>();
  coarse ? AddRows<at::BFloat16>(rows, into) : AddRows<float>(rows, into);
  return sums;
}

}  // namespace coppice
