// Attention of short texts. A block takes one head of one text: it copies queries, keys and values
// to shared memory, and each of its warps makes 16 rows of scores, all keys at once, so that a
// softmax needs no second pass and nothing but inputs and outputs touches the device's memory.
// Products are of bfloat16 with float32 sums, scores float32, their softmax rounded for its
// product, as LibTorch's fused kernels do it.
//
// Numbers of tiles are compile-time constants, kTiles of 16 tokens that hold the longest text and
// kColumns of 16 numbers that hold a head; what a text or a head has less is zeros. With loops that
// end where a text does, the same took 1.4 times as long.
#include <algorithm>
#include <type_traits>

#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/tiles.cuh"

namespace coppice::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

// What a block keeps in shared memory. The gradient's part comes last.
template <int kColumns, int kTiles>
struct Shared {
  static constexpr int kRows = kTiles * kTile;
  alignas(16) __nv_bfloat16 query[kRows * Matrix<kColumns>::kStride];
  alignas(16) __nv_bfloat16 key[kRows * Matrix<kColumns>::kStride];
  alignas(16) __nv_bfloat16 value[kRows * Matrix<kColumns>::kStride];
  float bias[2 * kRows];  // of key - query from -(kRows - 1) on, times log2 e
};

template <int kColumns, int kTiles>
struct SharedOfGradient : Shared<kColumns, kTiles> {
  static constexpr int kRows = kTiles * kTile;
  alignas(16) __nv_bfloat16 by_mixed[kRows * Matrix<kColumns>::kStride];
  alignas(16) __nv_bfloat16 share[kRows * Matrix<kTiles>::kStride];     // P
  alignas(16) __nv_bfloat16 by_score[kRows * Matrix<kTiles>::kStride];  // S
  float masks[kTiles];                                                  // of each warp
};

// A block's text and head.
struct Place {
  int64_t text, head;
  int64_t row;    // the text's first
  int length;     // its tokens
  int64_t pitch;  // of joined rows
};

__device__ Place PlaceOf(const Attention& a) {
  const Texts& texts = a.texts;
  Place place;
  place.text = blockIdx.x / static_cast<unsigned>(a.heads);
  place.head = blockIdx.x % static_cast<unsigned>(a.heads);
  place.length =
      static_cast<int>(texts.lengths == nullptr ? texts.tokens : texts.lengths[place.text]);
  place.row = texts.starts == nullptr ? place.text * texts.tokens : texts.starts[place.text];
  place.pitch = a.heads * (2 * a.key_width + a.value_width);
  return place;
}

// Where a head's queries, keys and values begin in joined rows.
template <typename Number>
struct Parts {
  Number *query, *key, *value;
};

template <typename Number>
__device__ Parts<Number> PartsOf(const Attention& a, const Place& place, Number* joined) {
  Number* row = joined + place.row * place.pitch;
  return {row + place.head * a.key_width, row + (a.heads + place.head) * a.key_width,
          row + 2 * a.heads * a.key_width + place.head * a.value_width};
}

template <int kColumns, int kTiles>
__device__ void BeginCopies(const Attention& a, const Place& place,
                            Shared<kColumns, kTiles>* shared) {
  constexpr int kRows = kTiles * kTile;
  const auto parts = PartsOf(a, place, static_cast<const __nv_bfloat16*>(a.joined));
  const int keys = static_cast<int>(a.key_width), values = static_cast<int>(a.value_width);
  BeginCopy<kColumns>(parts.query, place.pitch, keys, kRows, place.length, {shared->query});
  BeginCopy<kColumns>(parts.key, place.pitch, keys, kRows, place.length, {shared->key});
  BeginCopy<kColumns>(parts.value, place.pitch, values, kRows, place.length, {shared->value});
  const int last = static_cast<int>(a.texts.tokens) - 1;
  for (int k = static_cast<int>(threadIdx.x); k < 2 * kRows; k += static_cast<int>(blockDim.x)) {
    const int distance = k - (kRows - 1);
    const bool biased = a.bias != nullptr && distance >= -last && distance <= last;
    shared->bias[k] =
        biased ? kLog2E * a.bias[a.distance[distance + last] * a.heads + place.head] : 0;
  }
}

// Calls each(j, i) for the numbers that a lane has of a warp's 16 rows.
template <int kTiles, typename Each>
__device__ void ForNumbers(const Each& each) {
#pragma unroll
  for (int j = 0; j < 2 * kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) each(j, i);
  }
}

// Of a row's numbers four lanes have a share each.
__device__ float RowSum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

__device__ float RowMaximum(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

// softmax(Q K' scale + bias) of the queries from `first` on.
template <int kColumns, int kTiles>
__device__ Sums<kTiles> Probabilities(const Attention& a, const Place& place, int first,
                                      Shared<kColumns, kTiles>* shared) {
  Sums<kTiles> sums;
  TimesTransposed<kColumns>({shared->query}, first, {shared->key}, &sums);
  const float scale = a.scale * kLog2E;
  const int row = first + Lane() / 4, column = Lane() % 4 * 2;  // of number 0
  const float* bias = shared->bias + column - row + kTiles * kTile - 1;
  const int left = place.length - column;
  float most[2] = {-INFINITY, -INFINITY}, all[2] = {};
  ForNumbers<kTiles>([&](int j, int i) {
    float& score = sums.numbers[j][i];
    score = score * scale + bias[j * 8 + i % 2 - i / 2 * 8];
    if (j * 8 + i % 2 >= left) score = -INFINITY;
    most[i / 2] = fmaxf(most[i / 2], score);
  });
  for (float& x : most) x = RowMaximum(x);
  ForNumbers<kTiles>([&](int j, int i) {
    float& score = sums.numbers[j][i];
    score = FastExp2(score - most[i / 2]);
    all[i / 2] += score;
  });
  for (float& x : all) x = FastInverse(RowSum(x));
  ForNumbers<kTiles>([&](int j, int i) { sums.numbers[j][i] *= all[i / 2]; });
  return sums;
}

// The sums of 16 x 16 numbers as the left factor of another product.
template <int kTiles>
__device__ void Rounded(const Sums<kTiles>& sums, int k, unsigned (&tile)[4]) {
  const float(&low)[4] = sums.numbers[2 * k], (&high)[4] = sums.numbers[2 * k + 1];
  tile[0] = Packed(low[0], low[1]);
  tile[1] = Packed(low[2], low[3]);
  tile[2] = Packed(high[0], high[1]);
  tile[3] = Packed(high[2], high[3]);
}

template <int kColumns, int kTiles>
__global__ void __launch_bounds__(32 * kTiles)
    Mixed(const Attention a, __nv_bfloat16* __restrict__ mixed) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* shared = reinterpret_cast<Shared<kColumns, kTiles>*>(memory);
  const Place place = PlaceOf(a);
  BeginCopies(a, place, shared);
  FinishCopies();
  const int first = static_cast<int>(threadIdx.x) / 32 * kTile;
  if (first >= place.length) return;
  const Sums<kTiles> shares = Probabilities(a, place, first, shared);
  const Sums<kColumns> sums = Times<kTiles, kColumns>(
      [&](int k, unsigned(&tile)[4]) { Rounded(shares, k, tile); }, {shared->value});
  const Matrix<kColumns> out = {shared->query};  // whose rows nobody else reads
  __syncwarp();
  Store(sums, out, first);
  __syncwarp();
  const int64_t pitch = a.heads * a.value_width;
  WriteRows(out, first, static_cast<int>(a.value_width), place.length,
            mixed + place.row * pitch + place.head * a.value_width, pitch);
}

// With P the probabilities, G the gradient by P V: by values P'G; by P G V' = A; by scores
// S = P (A - sum of P A) scale; by queries S K, by keys S'Q. A row's sum of P A is that of its
// output times its gradient.
template <int kColumns, int kTiles>
__global__ void __launch_bounds__(32 * kTiles)
    MixedGradient(const AttentionGradient gradient, __nv_bfloat16* __restrict__ by_joined,
                  float* __restrict__ by_mask) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* shared = reinterpret_cast<SharedOfGradient<kColumns, kTiles>*>(memory);
  const Attention& a = gradient.forward;
  const Place place = PlaceOf(a);
  const int keys = static_cast<int>(a.key_width), values = static_cast<int>(a.value_width);
  const Matrix<kColumns> by_mixed = {shared->by_mixed}, value = {shared->value};
  const Matrix<kTiles> share = {shared->share}, by_score = {shared->by_score};
  const int64_t pitch = a.heads * values;
  BeginCopies<kColumns, kTiles>(a, place, shared);
  BeginCopy(static_cast<const __nv_bfloat16*>(gradient.by_mixed) + place.row * pitch +
                place.head * values,
            pitch, values, kTiles * kTile, place.length, by_mixed);
  FinishCopies();
  const int warp = static_cast<int>(threadIdx.x) / 32, first = warp * kTile;
  float mask = 0;
  if (first < place.length) {
    Sums<kTiles> shares = Probabilities<kColumns, kTiles>(a, place, first, shared);
    Store(shares, share, first);
    Sums<kTiles> by_shares;
    TimesTransposed(by_mixed, first, value, &by_shares);
    float along[2] = {};
    ForNumbers<kTiles>(
        [&](int j, int i) { along[i / 2] += shares.numbers[j][i] * by_shares.numbers[j][i]; });
    for (float& x : along) x = RowSum(x);
    mask = WarpSum(along[0] + along[1]) / 4;  // four lanes have each
    ForNumbers<kTiles>([&](int j, int i) {
      shares.numbers[j][i] *= (by_shares.numbers[j][i] - along[i / 2]) * a.scale;
    });
    Store(shares, by_score, first);
  } else {
    Store(Sums<kTiles>(), share, first);
    Store(Sums<kTiles>(), by_score, first);
  }
  if (Lane() == 0) shared->masks[warp] = mask;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int other = 1; other < kTiles; ++other) mask += shared->masks[other];
    by_mask[blockIdx.x] = mask;
  }
  if (first >= place.length) return;
  // The values have been read by all; each warp takes its rows of them on the way out.
  const auto parts = PartsOf(a, place, by_joined);
  const auto write = [&](const Sums<kColumns>& sums, int width, __nv_bfloat16* to) {
    __syncwarp();
    Store(sums, value, first);
    __syncwarp();
    WriteRows(value, first, width, place.length, to, place.pitch);
  };
  const auto along_keys = [&](int k, unsigned(&tile)[4]) {
    LoadLeft(by_score, first, k * kTile, tile);
  };
  const auto along_queries = [&](const Matrix<kTiles>& m) {
    return [=](int k, unsigned(&tile)[4]) { LoadLeftTransposed(m, first, k * kTile, tile); };
  };
  write(Times<kTiles, kColumns>(along_keys, {shared->key}), keys, parts.query);
  write(Times<kTiles, kColumns>(along_queries(by_score), {shared->query}), keys, parts.key);
  write(Times<kTiles>(along_queries(share), by_mixed), values, parts.value);
}

// Calls launch(columns, tiles), compile-time numbers of 16 columns and 16 tokens that suffice.
template <typename Launcher>
void ForShape(const Attention& a, const Launcher& launch) {
  const auto for_tokens = [&](auto columns) {
    if (a.texts.tokens <= 16) return launch(columns, std::integral_constant<int, 1>());
    if (a.texts.tokens <= 32) return launch(columns, std::integral_constant<int, 2>());
    if (a.texts.tokens <= 48) return launch(columns, std::integral_constant<int, 3>());
    if (a.texts.tokens <= 64) return launch(columns, std::integral_constant<int, 4>());
    launch(columns, std::integral_constant<int, 8>());
  };
  const int64_t width = std::max(a.key_width, a.value_width);
  if (width <= 32) return for_tokens(std::integral_constant<int, 2>());
  if (width <= 64) return for_tokens(std::integral_constant<int, 4>());
  for_tokens(std::integral_constant<int, 8>());
}

// More than 48 KiB of shared memory are to be asked for.
template <typename Kernel, typename... Arguments>
void LaunchBlocks(Kernel kernel, const Attention& a, int tiles, size_t bytes, Stream stream,
                  Arguments... arguments) {
  if (bytes > 48 * 1024) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(bytes));  // CheckLaunch() sees what went wrong
  }
  const auto blocks = static_cast<unsigned>(a.texts.count * a.heads);
  kernel<<<blocks, static_cast<unsigned>(32 * tiles), bytes, stream>>>(arguments...);
  CheckLaunch();
}

}  // namespace

int64_t MostAttentionTokens(int device) {
  int bytes = 0;
  if (device < 0 && cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
      cudaSuccess)
    return 0;
  const auto room = static_cast<size_t>(bytes);
  if (room >= sizeof(SharedOfGradient<8, 8>)) return 128;
  return room >= sizeof(SharedOfGradient<8, 4>) ? 64 : 0;
}

void Launch(const Attention& attention, void* mixed, Stream stream) {
  ForShape(attention, [&](auto columns, auto tiles) {
    LaunchBlocks(Mixed<columns, tiles>, attention, tiles, sizeof(Shared<columns, tiles>), stream,
                 attention, static_cast<__nv_bfloat16*>(mixed));
  });
}

void Launch(const AttentionGradient& gradient, void* by_joined, float* by_mask, Stream stream) {
  ForShape(gradient.forward, [&](auto columns, auto tiles) {
    LaunchBlocks(MixedGradient<columns, tiles>, gradient.forward, tiles,
                 sizeof(SharedOfGradient<columns, tiles>), stream, gradient,
                 static_cast<__nv_bfloat16*>(by_joined), by_mask);
  });
}

}  // namespace coppice::cuda
