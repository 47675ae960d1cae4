// What the machine can do: the rates that all else is held against.
#include <ATen/ATen.h>

#include "work.h"

namespace coppice {

void RegisterMachine(const BenchSetup& setup) {
  const at::Device device = setup.compute.device;
  const int64_t size = device.is_cpu() ? 2048 : 8192;
  const std::vector<std::pair<std::string, at::ScalarType>> dtypes = {
      {"bf16", at::kBFloat16}, {"f32", at::kFloat}, {"f64", at::kDouble}};
  for (const auto& [name, dtype] : dtypes) {
    benchmark::RegisterBenchmark(("machine/gemm_" + name).c_str(), [=](benchmark::State& state) {
      const at::TensorOptions options = at::TensorOptions(dtype).device(device);
      const at::Tensor a = at::randn({size, size}, options), b = at::randn({size, size}, options);
      at::Tensor product = at::empty({size, size}, options);
      Measure(state, device, [&] { at::mm_out(product, a, b); });
      Work work;
      work.AddProducts(dtype, CrossOperations(size, size, size));
      Report(state, work);
    });
  }
  benchmark::RegisterBenchmark("machine/copy", [=](benchmark::State& state) {
    const int64_t numbers = device.is_cpu() ? int64_t{1} << 26 : int64_t{1} << 29;
    const at::Tensor from = at::ones({numbers}, at::TensorOptions(device));
    at::Tensor to = at::empty_like(from);
    Measure(state, device, [&] { to.copy_(from); });
    Work work;
    work.bytes = 2.0 * 4 * static_cast<double>(numbers);
    Report(state, work);
  });
}

}  // namespace coppice
