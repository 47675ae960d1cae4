// A warp a row, of which every lane holds a share in registers: one read, one write of each number.
#include <type_traits>

#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr int kWarps = 8;  // rows of a block

// A lane's share of a row of D numbers: fours at columns 4 (32 p + lane), zeros beyond D.
template <int kParts>
struct Share {
  float4 parts[kParts];
};

// Calls each(part, column) for those columns that there are.
template <int kParts, typename Each>
__device__ void ForColumns(int width, const Each& each) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const int column = 4 * (32 * p + static_cast<int>(threadIdx.x));
    if (column < width) each(p, column);
  }
}

// A row of what is normed.
template <int kParts>
__device__ Share<kParts> Load(const SumAndNorm& sum, int64_t row) {
  Share<kParts> x = {};
  const int64_t start = row * sum.shape.width;
  ForColumns<kParts>(static_cast<int>(sum.shape.width), [&](int p, int column) {
    x.parts[p] = Read(sum.hidden + start + column) + Read(sum.branch + start + column);
  });
  if (sum.bias == nullptr) return x;
  ForColumns<kParts>(static_cast<int>(sum.shape.width), [&](int p, int column) {
    x.parts[p] = x.parts[p] + ReadRounded(sum.bias, column);
  });
  return x;
}

// Adds a table's row.
template <int kParts>
__device__ void Add(const EmbedAndNorm& sum, const void* table, int64_t row, Share<kParts>* x) {
  const int64_t start = row * sum.shape.width;
  ForColumns<kParts>(static_cast<int>(sum.shape.width), [&](int p, int column) {
    x->parts[p] =
        x->parts[p] + (sum.rounded ? ReadRounded(table, start + column)
                                   : Read(static_cast<const float*>(table) + start + column));
  });
}

template <int kParts>
__device__ Share<kParts> Load(const EmbedAndNorm& sum, int64_t row) {
  Share<kParts> x = {};
  Add(sum, sum.word, sum.ids[row], &x);
  Add(sum, sum.position, sum.places[row], &x);
  if (sum.type != nullptr) Add(sum, sum.type, sum.types[row], &x);
  return x;
}

// Removes the mean, and gives one over the deviation.
template <int kParts>
__device__ float Centre(const NormShape& shape, Share<kParts>* x) {
  const int width = static_cast<int>(shape.width);
  float sum = 0, squares = 0;
  ForColumns<kParts>(width, [&](int p, int) { sum += Total(x->parts[p]); });
  const float mean = WarpSum(sum) / static_cast<float>(width);
  ForColumns<kParts>(width, [&](int p, int) {
    x->parts[p] = x->parts[p] - mean;
    squares += Total(x->parts[p] * x->parts[p]);
  });
  return 1 / sqrtf(WarpSum(squares) / static_cast<float>(width) + shape.epsilon);
}

template <typename Sum, int kParts>
__global__ void __launch_bounds__(32 * kWarps)
    Normed(const Sum sum, float* __restrict__ exact, void* __restrict__ rounded) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= sum.shape.rows) return;
  Share<kParts> x = Load<kParts>(sum, row);
  const float inverse = Centre(sum.shape, &x);
  const int64_t start = row * sum.shape.width;
  ForColumns<kParts>(static_cast<int>(sum.shape.width), [&](int p, int column) {
    const float4 y = x.parts[p] * inverse * Read(sum.weight + column) + Read(sum.shift + column);
    *reinterpret_cast<float4*>(exact + start + column) = y;
    if (rounded != nullptr) WriteRounded(y, rounded, start + column);
  });
}

// With n the normed row and u the gradient by it: (u - mean(u) - n mean(n u)) / deviation. The row
// is summed and normed again, which reads what the forward pass read and keeps nothing else.
template <int kParts>
__global__ void __launch_bounds__(32 * kWarps)
    NormGradient(const SumAndNormGradient gradient, float* __restrict__ exact,
                 void* __restrict__ rounded) {
  const NormShape& shape = gradient.forward.shape;
  const int width = static_cast<int>(shape.width);
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= shape.rows) return;
  const int64_t start = row * width;
  Share<kParts> by_normed = {};
  if (gradient.by_exact != nullptr) {
    ForColumns<kParts>(width, [&](int p, int column) {
      by_normed.parts[p] = Read(gradient.by_exact + start + column);
    });
  }
  if (gradient.by_rounded != nullptr) {
    ForColumns<kParts>(width, [&](int p, int column) {
      by_normed.parts[p] = by_normed.parts[p] + ReadRounded(gradient.by_rounded, start + column);
    });
  }
  Share<kParts> normed = Load<kParts>(gradient.forward, row);
  const float inverse = Centre(shape, &normed);
  float sum = 0, along = 0;
  ForColumns<kParts>(width, [&](int p, int column) {
    normed.parts[p] = normed.parts[p] * inverse;
    by_normed.parts[p] = by_normed.parts[p] * Read(gradient.forward.weight + column);
    sum += Total(by_normed.parts[p]);
    along += Total(by_normed.parts[p] * normed.parts[p]);
  });
  const float mean = WarpSum(sum) / static_cast<float>(width);
  const float share = WarpSum(along) / static_cast<float>(width);
  ForColumns<kParts>(width, [&](int p, int column) {
    const float4 by_sum = (by_normed.parts[p] - mean + normed.parts[p] * -share) * inverse;
    *reinterpret_cast<float4*>(exact + start + column) = by_sum;
    WriteRounded(by_sum, rounded, start + column);
  });
}

// Calls launch(parts, grid, block) with as many parts, a compile-time number, as a row needs.
template <typename Launcher>
void ForWidth(const NormShape& shape, const Launcher& launch) {
  const dim3 grid(Blocks(shape.rows, kWarps)), block(32, kWarps);
  const int64_t parts = (shape.width + 127) / 128;
  if (parts <= 1) return launch(std::integral_constant<int, 1>(), grid, block);
  if (parts <= 3) return launch(std::integral_constant<int, 3>(), grid, block);
  if (parts <= 6) return launch(std::integral_constant<int, 6>(), grid, block);
  launch(std::integral_constant<int, 8>(), grid, block);
}

}  // namespace

void Launch(const SumAndNorm& sum, float* exact, void* rounded, Stream stream) {
  ForWidth(sum.shape, [&](auto parts, dim3 grid, dim3 block) {
    Normed<SumAndNorm, parts><<<grid, block, 0, stream>>>(sum, exact, rounded);
    CheckLaunch();
  });
}

void Launch(const EmbedAndNorm& sum, float* exact, void* rounded, Stream stream) {
  ForWidth(sum.shape, [&](auto parts, dim3 grid, dim3 block) {
    Normed<EmbedAndNorm, parts><<<grid, block, 0, stream>>>(sum, exact, rounded);
    CheckLaunch();
  });
}

void Launch(const SumAndNormGradient& gradient, float* exact, void* rounded, Stream stream) {
  ForWidth(gradient.forward.shape, [&](auto parts, dim3 grid, dim3 block) {
    NormGradient<parts><<<grid, block, 0, stream>>>(gradient, exact, rounded);
    CheckLaunch();
  });
}

}  // namespace coppice::cuda
