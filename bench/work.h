// What one iteration of a benchmark has to do, counted from shapes; bench/run divides it by the
// machine's rates for the shortest time that it could take, the roofline.
//
// Counted is what the result needs, not what the code does: a symmetric product once, a causal
// attention over earlier tokens alone, real tokens alone. So a share below 1 also shows work that
// could be left out.
#pragma once

#include <benchmark/benchmark.h>

#include <filesystem>
#include <string>

#include "calibrate/samples.h"
#include "model/network.h"

namespace coppice {

// How everything is measured.
struct BenchSetup {
  Compute compute;
  std::filesystem::path models;  // folder of the models that bench/run makes
};

// Of operations, two to a multiplication with its sum; bytes to and from memory.
struct Work {
  double bfloat16 = 0, float32 = 0, float64 = 0;
  double bytes = 0;
  // Operations of products in the compute dtype.
  void AddProducts(at::ScalarType dtype, double operations);
  Work& operator+=(const Work& other);
};

// Counters flops_bf16, flops_f32, flops_f64 and bytes.
void Report(benchmark::State& state, const Work& work);

// Waits for what was started on the device.
void Wait(at::Device device);

// Runs `body` once before the clock starts, then as often as the library wants.
template <typename Body>
void Measure(benchmark::State& state, at::Device device, const Body& body) {
  body();
  Wait(device);
  for ([[maybe_unused]] auto _ : state) {
    body();
    Wait(device);
  }
}

// One forward pass of sub-layers [from, to) over the samples, without embeddings and head.
Work ForwardWork(const Network& net, const Samples& samples, size_t from, size_t to);

// X'X of (M, I), a symmetric product.
double GramOperations(int64_t rows, int64_t inputs);
// X'Y of (M, I) and (M, D).
double CrossOperations(int64_t rows, int64_t inputs, int64_t outputs);

void RegisterMachine(const BenchSetup& setup);
void RegisterKernels(const BenchSetup& setup);
void RegisterStages(const BenchSetup& setup);
void RegisterLoads(const BenchSetup& setup);

}  // namespace coppice
