#include "model/tile_products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"
#include "model/device.h"

namespace coppice {
namespace {

constexpr int64_t kTile = 64;

int64_t PanelsOf(int64_t columns) { return (columns + kTile - 1) / kTile; }

// Columns filled up with zeros to whole panels.
at::Tensor Whole(const at::Tensor& x) {
  const int64_t more = PanelsOf(x.size(1)) * kTile - x.size(1);
  return more == 0 ? x.contiguous() : at::constant_pad_nd(x, {0, more});
}

// (K, panels * 64) -> (panels, K / 2, 64, 2): two rows side by side, as the kernels read them.
at::Tensor InPairs(const at::Tensor& x) {
  const int64_t columns = x.size(1);
  const int64_t panels = columns / kTile;
  at::Tensor pairs = at::empty({panels, kTileRows / 2, kTile, 2}, x.options());
  const auto* from = reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>());
  auto* to = reinterpret_cast<uint16_t*>(pairs.data_ptr<at::BFloat16>());
  at::parallel_for(0, kTileRows / 2, 64, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const uint16_t* even = from + 2 * pair * columns;
      const uint16_t* odd = even + columns;
      for (int64_t panel = 0; panel < panels; ++panel) {
        uint16_t* out = to + (panel * kTileRows / 2 + pair) * 2 * kTile;
        for (int64_t c = 0; c < kTile; ++c) {
          out[2 * c] = even[panel * kTile + c];
          out[2 * c + 1] = odd[panel * kTile + c];
        }
      }
    }
  });
  return pairs;
}

// (K, I) -> (panels * 64, K).
at::Tensor Columns(const at::Tensor& x) {
  Check(x.size(0) == kTileRows, "a tile product of other rows");
  return Whole(x).t().contiguous();
}

// columns: of the left side; pairs: of the right one. upper: tiles on and above the diagonal alone.
void AddTilesOf(const at::Tensor& columns, const at::Tensor& pairs, bool upper, at::Tensor* tiles) {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
  const int64_t across = tiles->size(1);
  std::vector<std::pair<int64_t, int64_t>> wanted;  // a column of tiles after the other
  for (int64_t j = 0; j < across; ++j) {
    const int64_t down = upper ? j + 1 : tiles->size(0);
    for (int64_t i = 0; i < down; ++i) wanted.emplace_back(i, j);
  }
  const at::BFloat16* a = columns.const_data_ptr<at::BFloat16>();
  const at::BFloat16* b = pairs.const_data_ptr<at::BFloat16>();
  float* c = tiles->data_ptr<float>();
  at::parallel_for(0, static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const auto [i, j] = wanted[static_cast<size_t>(k)];
      at::native::cpublas::brgemm(kTile, kTile, kTileRows, kTileRows, kTile, kTile, /*add_C=*/true,
                                  a + i * kTile * kTileRows, b + j * kTile * kTileRows,
                                  c + (i * across + j) * kTile * kTile, /*is_vnni=*/true);
    }
    at::native::cpublas::brgemm_release(/*is_vnni=*/true);
  });
#else
  Check(false, "LibTorch has no brgemm of bfloat16");
#endif
}

}  // namespace

bool HasTileProducts() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
  return ProcessorMultipliesBfloat16();
#else
  return false;
#endif
}

at::Tensor ZeroTiles(int64_t inputs, int64_t outputs) {
  return at::zeros({PanelsOf(inputs), PanelsOf(outputs), kTile, kTile});
}

void AddTileProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* tiles) {
  AddTilesOf(Columns(left), InPairs(Whole(right)), false, tiles);
}

void AddTileGram(const at::Tensor& x, at::Tensor* tiles) {
  AddTilesOf(Columns(x), InPairs(Whole(x)), true, tiles);
}

void AddTiles(const at::Tensor& tiles, at::Tensor* total) {
  const int64_t across = tiles.size(1);
  const int64_t inputs = total->size(0);
  const int64_t outputs = total->size(1);
  const float* from = tiles.const_data_ptr<float>();
  double* to = total->data_ptr<double>();
  at::parallel_for(0, inputs, kTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < across; ++j) {
        const float* row = from + ((i / kTile * across + j) * kTile + i % kTile) * kTile;
        const int64_t count = std::min(kTile, outputs - j * kTile);
        double* sums = to + i * outputs + j * kTile;
        for (int64_t c = 0; c < count; ++c) sums[c] += static_cast<double>(row[c]);
      }
    }
  });
}

}  // namespace coppice
