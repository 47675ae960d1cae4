// Gated SiLU and its gradient, bound by memory: a thread takes 8 channels of a row.
#include "model/cuda/kernels.h"
#include "model/cuda/launch.cuh"
#include "model/cuda/vectors.cuh"

namespace coppice::cuda {
namespace {

constexpr unsigned kThreads = 256;

// 1 / (1 + exp(-x)): 2^(-x log2(e)) of very negative ones is infinite, and the inverse 0.
__device__ float Sigmoid(float x) {
  constexpr float kLog2E = 1.44269504f;
  return FastInverse(1 + FastExp2(-kLog2E * x));
}

// Where a thread's 8 channels are, in bunches of 8: among rows as far apart as gate's, and among
// rows without a gap.
struct Place {
  int64_t apart, dense;
  bool exists;
};

__device__ Place PlaceOf(const GatedSilu& gated) {
  const auto bunches = static_cast<unsigned>(gated.channels / 8);
  const unsigned index = blockIdx.x * kThreads + threadIdx.x;
  const unsigned row = index / bunches;
  return {row * (gated.stride / 8) + index % bunches, index, row < gated.rows};
}

__device__ unsigned Gated(unsigned gates, unsigned ups) {
  const float2 gate = Unpacked(gates), up = Unpacked(ups);
  return Packed(gate.x * Sigmoid(gate.x) * up.x, gate.y * Sigmoid(gate.y) * up.y);
}

__global__ void __launch_bounds__(kThreads) GatedSiluOf(const GatedSilu gated, uint4* x) {
  const Place place = PlaceOf(gated);
  if (!place.exists) return;
  const uint4 gate = __ldg(static_cast<const uint4*>(gated.gate) + place.apart);
  const uint4 up = __ldg(static_cast<const uint4*>(gated.up) + place.apart);
  x[place.dense] = {Gated(gate.x, up.x), Gated(gate.y, up.y), Gated(gate.z, up.z),
                    Gated(gate.w, up.w)};
}

// With s the sigmoid of the gate: by_x up s (1 + gate (1 - s)), and by_x gate s.
__device__ float2 Gradient(float gate, float up, float by_x) {
  const float s = Sigmoid(gate), silu = gate * s;
  return {by_x * up * (s + silu * (1 - s)), by_x * silu};
}

__device__ void Gradients(unsigned gates, unsigned ups, unsigned by, unsigned* by_gate,
                          unsigned* by_up) {
  const float2 gate = Unpacked(gates), up = Unpacked(ups), by_x = Unpacked(by);
  const float2 a = Gradient(gate.x, up.x, by_x.x), b = Gradient(gate.y, up.y, by_x.y);
  *by_gate = Packed(a.x, b.x);
  *by_up = Packed(a.y, b.y);
}

__global__ void __launch_bounds__(kThreads)
    GatedSiluGradientOf(const GatedSiluGradient gradient, uint4* by_gate, uint4* by_up) {
  const GatedSilu& gated = gradient.forward;
  const Place place = PlaceOf(gated);
  if (!place.exists) return;
  const uint4 gate = __ldg(static_cast<const uint4*>(gated.gate) + place.apart);
  const uint4 up = __ldg(static_cast<const uint4*>(gated.up) + place.apart);
  const uint4 by_x = __ldg(static_cast<const uint4*>(gradient.by_x) + place.dense);
  uint4 g, u;
  Gradients(gate.x, up.x, by_x.x, &g.x, &u.x);
  Gradients(gate.y, up.y, by_x.y, &g.y, &u.y);
  Gradients(gate.z, up.z, by_x.z, &g.z, &u.z);
  Gradients(gate.w, up.w, by_x.w, &g.w, &u.w);
  by_gate[place.apart] = g;
  by_up[place.apart] = u;
}

unsigned BlocksOf(const GatedSilu& gated) {
  return Blocks(gated.rows * gated.channels / 8, kThreads);
}

}  // namespace

void Launch(const GatedSilu& gated, void* x, Stream stream) {
  GatedSiluOf<<<BlocksOf(gated), kThreads, 0, stream>>>(gated, static_cast<uint4*>(x));
  CheckLaunch();
}

void Launch(const GatedSiluGradient& gradient, void* by_gate, void* by_up, Stream stream) {
  GatedSiluGradientOf<<<BlocksOf(gradient.forward), kThreads, 0, stream>>>(
      gradient, static_cast<uint4*>(by_gate), static_cast<uint4*>(by_up));
  CheckLaunch();
}

}  // namespace coppice::cuda
