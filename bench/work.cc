#include "work.h"

#include <ATen/ATen.h>

namespace coppice {

void Work::AddProducts(at::ScalarType dtype, double operations) {
  double& counted = dtype == at::kBFloat16 ? bfloat16 : dtype == at::kFloat ? float32 : float64;
  counted += operations;
}

Work& Work::operator+=(const Work& other) {
  bfloat16 += other.bfloat16;
  float32 += other.float32;
  float64 += other.float64;
  bytes += other.bytes;
  return *this;
}

void Report(benchmark::State& state, const Work& work) {
  state.counters["flops_bf16"] = work.bfloat16;
  state.counters["flops_f32"] = work.float32;
  state.counters["flops_f64"] = work.float64;
  state.counters["bytes"] = work.bytes;
}

void Wait(at::Device device) {
  if (!device.is_cpu()) at::zeros({1}, at::TensorOptions(device)).item<float>();
}

double GramOperations(int64_t rows, int64_t inputs) {
  return static_cast<double>(rows) * static_cast<double>(inputs) * static_cast<double>(inputs + 1);
}

double CrossOperations(int64_t rows, int64_t inputs, int64_t outputs) {
  return 2 * static_cast<double>(rows) * static_cast<double>(inputs) * static_cast<double>(outputs);
}

Work ForwardWork(const Network& net, const Samples& samples, size_t from, size_t to) {
  const auto tokens = static_cast<double>(samples.tokens());
  double pairs = 0;  // of tokens that attend to each other
  for (const Sample& sample : samples.samples) {
    const auto length = static_cast<double>(sample.tokens());
    pairs += net.spec.form == BlockForm::kDecoder ? length * (length + 1) / 2 : length * length;
  }
  Work work;
  for (size_t i = from; i < to; ++i) {
    const SubLayer& sub = net.sub_layers[i];
    auto weights = static_cast<double>(sub.out.weight.numel());
    for (const Linear& linear : sub.in) weights += static_cast<double>(linear.weight.numel());
    double operations = 2 * tokens * weights;
    if (sub.kind == UnitKind::kHead)
      operations += 4 * pairs * static_cast<double>(sub.units * sub.width);
    work.AddProducts(net.compute.dtype, operations);
    work.bytes += weights * static_cast<double>(c10::elementSize(net.compute.dtype));
  }
  return work;
}

}  // namespace coppice
