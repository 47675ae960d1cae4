// The kernels that pruning spends its time in, on random numbers of BERT-base's sizes.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "model/gram.h"
#include "score/obs_curve.h"
#include "search/level_search.h"
#include "tune/moments.h"
#include "tune/repair.h"
#include "work.h"

namespace coppice {
namespace {

constexpr int64_t kWidth = 768;
constexpr int64_t kRows = 4096;
constexpr int64_t kInputs[] = {768, 3072};
constexpr at::ScalarType kDtypes[] = {at::kBFloat16, at::kFloat};

const char* NameOf(at::ScalarType dtype) { return dtype == at::kBFloat16 ? "bf16" : "f32"; }

at::Tensor Random(at::Device device, at::ScalarType dtype, at::IntArrayRef shape) {
  return at::randn(shape, at::TensorOptions(at::kFloat).device(device)).to(dtype);
}

void BenchGram(at::Device device, at::ScalarType dtype, int64_t inputs, benchmark::State& state) {
  const at::Tensor x = Random(device, dtype, {kRows, inputs});
  ProductSum sum;
  Measure(state, device, [&] { sum.Add(x, x); });
  Work work;
  work.AddProducts(dtype, GramOperations(kRows, inputs));
  Report(state, work);
}

void BenchCross(at::Device device, at::ScalarType dtype, int64_t inputs, benchmark::State& state) {
  const at::Tensor x = Random(device, dtype, {kRows, inputs});
  const at::Tensor y = Random(device, dtype, {kRows, kWidth});
  ProductSum sum;
  Measure(state, device, [&] { sum.Add(x, y); });
  Work work;
  work.AddProducts(dtype, CrossOperations(kRows, inputs, kWidth));
  Report(state, work);
}

// Inverse, then a rank-one update of what is left for every input that goes.
void BenchSweep(at::Device device, int64_t units, int64_t width, benchmark::State& state) {
  const int64_t inputs = units * width;
  Curvature curvature;
  curvature.Add(Random(device, at::kFloat, {2 * inputs, inputs}),
                Random(device, at::kFloat, {2 * inputs, kWidth}));
  curvature.positions = 1;
  const at::Tensor weight = Random(device, at::kFloat, {inputs, kWidth});
  Measure(state, device, [&] { MakeObsCurve(curvature, weight, width, {}); });
  const auto i = static_cast<double>(inputs);
  const auto d = static_cast<double>(kWidth);
  Work work;
  work.float64 = i * i * i + 2 * i * d * d + 2 * i * i * i / 3 + i * i * d;
  Report(state, work);
}

void BenchSolve(at::Device device, int64_t inputs, benchmark::State& state) {
  const Moments moments = MomentsOf(Random(device, at::kFloat, {2 * inputs, inputs}),
                                    Random(device, at::kFloat, {2 * inputs, kWidth}));
  Measure(state, device, [&] { SolveLeastSquares(moments, 1e-2); });
  const auto i = static_cast<double>(inputs);
  Work work;
  work.float64 = i * i * i / 3 + 2 * i * i * static_cast<double>(kWidth);
  Report(state, work);
}

// 12 layers of 12 heads and 3072 channels in blocks of 16, half of the cost. No roofline: what it
// does is no product.
void BenchKnapsack(benchmark::State& state) {
  std::vector<Levels> table;
  int64_t all = 0;
  for (int64_t sub = 0; sub < 24; ++sub) {
    const int64_t steps = sub % 2 == 0 ? 12 : 192;
    const int64_t cost = sub % 2 == 0 ? 4 * kWidth * 64 : 16 * 2 * kWidth;
    Levels levels;
    for (int64_t k = 0; k <= steps; ++k) {
      const double gone = static_cast<double>(steps - k) / static_cast<double>(steps);
      levels.push_back({k, static_cast<double>(sub + 1) * gone * gone, k * cost});
    }
    all += levels.back().cost;
    table.push_back(std::move(levels));
  }
  Measure(state, at::kCPU, [&] { benchmark::DoNotOptimize(ChooseLevels(table, all / 2)); });
}

}  // namespace

void RegisterKernels(const BenchSetup& setup) {
  const at::Device device = setup.compute.device;
  for (const at::ScalarType dtype : kDtypes) {
    for (const int64_t inputs : kInputs) {
      const auto add = [&](const char* kernel, auto body) {
        benchmark::RegisterBenchmark(
            fmt::format("kernel/{}_{}/{}", kernel, NameOf(dtype), inputs).c_str(),
            [=](benchmark::State& state) { body(device, dtype, inputs, state); });
      };
      add("gram", BenchGram);
      add("cross", BenchCross);
    }
  }
  const auto add = [](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(("kernel/" + name).c_str(), body);
  };
  add("sweep/heads", [=](benchmark::State& state) { BenchSweep(device, 12, 64, state); });
  add("sweep/channels", [=](benchmark::State& state) { BenchSweep(device, 3072, 1, state); });
  add("solve/3072", [=](benchmark::State& state) { BenchSolve(device, 3072, state); });
  add("knapsack", [](benchmark::State& state) { BenchKnapsack(state); });
}

}  // namespace coppice
