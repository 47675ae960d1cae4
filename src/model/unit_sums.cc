#include "model/unit_sums.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <vector>

#include "model/cpu_loops.h"
#include "model/cuda/kernels.h"
#include "model/cuda_rows.h"

namespace coppice {
namespace {

// A token's products, added to the sums of its columns.
COPPICE_EACH_PROCESSOR
void AddProducts(const uint16_t* x, const uint16_t* by_x, int64_t columns, float* sums) {
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) sums[c] += Widened(x[c]) * Widened(by_x[c]);
}

COPPICE_EACH_PROCESSOR
float Sum(const float* numbers, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; ++c) sum += numbers[c];
  return sum;
}

// sums: (B, rows, units), each of whose rows is one thread's.
void SumInFloat(const at::Tensor& x, const at::Tensor& by_x, int64_t row_tokens,
                const at::Tensor& sums) {
  const int64_t tokens = x.size(1), columns = x.size(2), rows = sums.size(1), units = sums.size(2);
  const int64_t width = columns / units;
  const uint16_t *left = Bits(x), *right = Bits(by_x);
  auto* all = sums.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0) * rows, 1, [&](int64_t first_row, int64_t last_row) {
    std::vector<float> room(static_cast<size_t>(width == 1 ? 0 : columns));
    for (int64_t row = first_row; row < last_row; ++row) {
      float* of_units = all + row * units;
      float* of_columns = width == 1 ? of_units : room.data();
      std::fill(of_columns, of_columns + columns, 0.0F);
      const int64_t begin = row % rows * row_tokens, end = std::min(begin + row_tokens, tokens);
      for (int64_t t = begin; t < end; ++t) {
        const int64_t first = (row / rows * tokens + t) * columns;
        AddProducts(left + first, right + first, columns, of_columns);
      }
      for (int64_t unit = 0; unit < units && width > 1; ++unit)
        of_units[unit] = Sum(of_columns + unit * width, width);
    }
  });
}

bool HasKernel(const at::Tensor& x) {
  return x.size(2) % 8 == 0 && HasKernels({x.device(), x.scalar_type()});
}

// A kernel's thread takes few tokens, so that there are threads enough; its sums are added up.
at::Tensor SumByKernel(const at::Tensor& x, const at::Tensor& by_x, int64_t units, int64_t rows,
                       int64_t row_tokens) {
  constexpr int64_t kPartTokens = 32;
  const c10::DeviceGuard here(x.device());
  const int64_t parts = (row_tokens + kPartTokens - 1) / kPartTokens;
  at::Tensor sums =
      at::empty({x.size(0), rows, parts, units, x.size(2) / units}, x.options().dtype(at::kFloat));
  cuda::Launch(cuda::ProductSums{.texts = x.size(0),
                                 .tokens = x.size(1),
                                 .columns = x.size(2),
                                 .rows = rows,
                                 .row_tokens = row_tokens,
                                 .parts = parts,
                                 .part_tokens = kPartTokens,
                                 .x = x.const_data_ptr(),
                                 .y = by_x.const_data_ptr()},
               sums.mutable_data_ptr<float>(), cuda::CurrentStream());
  return sums.sum({2, 4});
}

}  // namespace

at::Tensor SumsOfProducts(const at::Tensor& x, const at::Tensor& by_x, int64_t units,
                          int64_t row_tokens) {
  const int64_t rows = (x.size(1) + row_tokens - 1) / row_tokens;
  if (HasLoops(x)) {
    at::Tensor sums = at::empty({x.size(0), rows, units}, x.options().dtype(at::kFloat));
    SumInFloat(x.contiguous(), by_x.contiguous(), row_tokens, sums);
    return sums;
  }
  if (HasKernel(x)) return SumByKernel(AlignedRows(x), AlignedRows(by_x), units, rows, row_tokens);
  at::Tensor product = x * by_x;
  const int64_t missing = rows * row_tokens - x.size(1);
  if (missing > 0) product = at::constant_pad_nd(product, {0, 0, 0, missing});
  return product.view({x.size(0), rows, row_tokens, units, x.size(2) / units})
      .sum({2, 4}, /*keepdim=*/false, at::kFloat);
}

}  // namespace coppice
