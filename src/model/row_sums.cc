#include "model/row_sums.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>

#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"

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

bool HasKernel(const at::Tensor& x) {
  return x.is_cuda() && x.size(1) % 4 == 0 && x.numel() > 0 && cuda::Available(x.device().index());
}

at::Tensor SumByKernel(const at::Tensor& x, at::Tensor* energy) {
  constexpr int64_t kFewRows = 64, kMostParts = 65535;
  const c10::DeviceGuard here(x.device());
  const int64_t part_rows = std::max(kFewRows, (x.size(0) + kMostParts - 1) / kMostParts);
  const int64_t parts = (x.size(0) + part_rows - 1) / part_rows;
  const at::TensorOptions exact = x.options().dtype(at::kDouble);
  at::Tensor sums = at::empty({parts, x.size(1)}, exact);
  at::Tensor squares = energy == nullptr ? at::Tensor() : at::empty({parts, x.size(1)}, exact);
  cuda::Launch(cuda::RowSums{.rows = x.size(0),
                             .columns = x.size(1),
                             .part_rows = part_rows,
                             .rounded = x.scalar_type() == at::kBFloat16,
                             .x = x.const_data_ptr()},
               sums.mutable_data_ptr<double>(),
               energy == nullptr ? nullptr : squares.mutable_data_ptr<double>(),
               cuda::CurrentStream());
  if (energy != nullptr) *energy = squares.sum();
  return sums.sum(0);
}

}  // namespace

at::Tensor SumOfRows(const at::Tensor& x, at::Tensor* energy) {
  const bool coarse = x.scalar_type() == at::kBFloat16;
  const bool known = coarse || x.scalar_type() == at::kFloat;
  if (known && HasKernel(x)) return SumByKernel(AlignedRows(x), energy);
  if (energy != nullptr) *energy = x.square().sum(at::kDouble);
  if (!x.is_cpu() || !known) return x.sum(0, /*keepdim=*/false, at::kDouble);
  at::Tensor sums = at::zeros({x.size(1)}, x.options().dtype(at::kDouble));
  const at::Tensor rows = x.contiguous();
  double* into = sums.mutable_data_ptr<double>();
  coarse ? AddRows<at::BFloat16>(rows, into) : AddRows<float>(rows, into);
  return sums;
}

}  // namespace coppice
