// Rotation, bound by memory: a thread turns the same 8 pairs of a token in several heads, whose
// angles are one.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr unsigned kThreads = 128;
constexpr int kHeads = 4;  // of a thread, at most

// Of 8 pairs.
struct Angles {
  float cosine[8], sine[8];
};

// Of 8 pairs side by side, or of each second of 16 numbers.
template <bool kNeighbours>
__device__ void ReadEight(const float* from, float* eight) {
#pragma unroll
  for (int k = 0; k < (kNeighbours ? 4 : 2); ++k) {
    const float4 four = Read(from + 4 * k);
    if (kNeighbours) {
      eight[2 * k] = four.x;
      eight[2 * k + 1] = four.z;
    } else {
      eight[4 * k] = four.x;
      eight[4 * k + 1] = four.y;
      eight[4 * k + 2] = four.z;
      eight[4 * k + 3] = four.w;
    }
  }
}

__device__ unsigned First(unsigned a, unsigned b, float2 cosine, float2 sine) {
  const float2 x = Unpacked(a), y = Unpacked(b);
  return Packed(x.x * cosine.x - y.x * sine.x, x.y * cosine.y - y.y * sine.y);
}

// Two pairs, whose first numbers are in a and whose second ones are in b.
__device__ void TurnHalves(unsigned* a, unsigned* b, const float* cosine, const float* sine) {
  const unsigned first = First(*a, *b, {cosine[0], cosine[1]}, {sine[0], sine[1]});
  *b = First(*b, *a, {cosine[0], cosine[1]}, {-sine[0], -sine[1]});
  *a = first;
}

// A pair side by side.
__device__ void TurnNeighbours(unsigned* pair, float cosine, float sine) {
  const float2 x = Unpacked(*pair);
  *pair = Packed(x.x * cosine - x.y * sine, x.y * cosine + x.x * sine);
}

template <bool kNeighbours>
__device__ void Turn(uint4* a, uint4* b, const Angles& angles) {
  const float *c = angles.cosine, *s = angles.sine;
  if (kNeighbours) {
    TurnNeighbours(&a->x, c[0], s[0]);
    TurnNeighbours(&a->y, c[1], s[1]);
    TurnNeighbours(&a->z, c[2], s[2]);
    TurnNeighbours(&a->w, c[3], s[3]);
    TurnNeighbours(&b->x, c[4], s[4]);
    TurnNeighbours(&b->y, c[5], s[5]);
    TurnNeighbours(&b->z, c[6], s[6]);
    TurnNeighbours(&b->w, c[7], s[7]);
  } else {
    TurnHalves(&a->x, &b->x, c, s);
    TurnHalves(&a->y, &b->y, c + 2, s + 2);
    TurnHalves(&a->z, &b->z, c + 4, s + 4);
    TurnHalves(&a->w, &b->w, c + 6, s + 6);
  }
}

template <bool kNeighbours>
__global__ void __launch_bounds__(kThreads)
    Turned(const Rotation rotation, void* __restrict__ turned) {
  // 32 bits, of which divisions are quick.
  const auto parts = static_cast<unsigned>(rotation.width / 16);
  const auto tokens = static_cast<unsigned>(rotation.tokens);
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  const unsigned part = index % parts, row = index / parts;
  const unsigned token = row % tokens, text = row / tokens;
  if (text >= rotation.texts) return;
  // Where the thread's two bunches of 8 numbers begin.
  const unsigned first = kNeighbours ? 16 * part : 8 * part;
  const unsigned second = kNeighbours ? first + 8 : 8 * parts + first;
  const int64_t angle = token * rotation.width + first;
  Angles angles;
  ReadEight<kNeighbours>(rotation.cosine + angle, angles.cosine);
  ReadEight<kNeighbours>(rotation.sine + angle, angles.sine);
#pragma unroll
  for (float& sine : angles.sine) sine = rotation.back ? -sine : sine;
  const auto* from = static_cast<const __nv_bfloat16*>(rotation.x) + text * rotation.from.text +
                     token * rotation.from.token;
  auto* to =
      static_cast<__nv_bfloat16*>(turned) + text * rotation.to.text + token * rotation.to.token;
  const int64_t begin = int64_t{blockIdx.y} * kHeads;
  uint4 a[kHeads], b[kHeads];  // all are asked for before the first is waited for
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    if (begin + k >= rotation.heads) break;
    const __nv_bfloat16* source = from + (begin + k) * rotation.from.head;
    a[k] = __ldg(reinterpret_cast<const uint4*>(source + first));
    b[k] = __ldg(reinterpret_cast<const uint4*>(source + second));
  }
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    if (begin + k >= rotation.heads) break;
    Turn<kNeighbours>(&a[k], &b[k], angles);
    __nv_bfloat16* place = to + (begin + k) * rotation.to.head;
    *reinterpret_cast<uint4*>(place + first) = a[k];
    *reinterpret_cast<uint4*>(place + second) = b[k];
  }
}

}  // namespace

void Launch(const Rotation& rotation, void* turned, Stream stream) {
  const int64_t threads = rotation.texts * rotation.tokens * (rotation.width / 16);
  const dim3 grid(Blocks(threads, kThreads), Blocks(rotation.heads, kHeads));
  if (rotation.neighbours) {
    Turned<true><<<grid, kThreads, 0, stream>>>(rotation, turned);
  } else {
    Turned<false><<<grid, kThreads, 0, stream>>>(rotation, turned);
  }
  CheckLaunch();
}

}  // namespace coppice::cuda
