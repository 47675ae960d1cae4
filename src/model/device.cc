#include "model/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include "core/error.h"
#include "model/cuda/kernels.h"

namespace coppice {
namespace {

at::Device ParseDevice(const std::string& name) {
  const int64_t gpus =
      at::hasCUDA() ? static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (name == "cpu") return at::kCPU;
  if (name == "auto") return gpus > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cuda" || (name.starts_with("cuda:") && name.size() > 5 && name.size() <= 7 &&
                         name.find_first_not_of("0123456789", 5) == std::string::npos)) {
    const int64_t index = name == "cuda" ? 0 : std::stoll(name.substr(5));
    if (index < gpus) return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    ThrowEnvironment({.what = "no such device",
                      .where = "--device",
                      .expected = fmt::format("one of {} CUDA devices", gpus),
                      .found = name,
                      .hint = gpus == 0 ? "use --device cpu" : ""});
  }
  ThrowUsage({.what = "unknown device",
              .where = "--device",
              .expected = "auto, cpu, cuda or cuda:N",
              .found = name});
}

}  // namespace

bool ProcessorMultipliesBfloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

Compute ChooseCompute(const std::string& device, const std::string& dtype, Purpose purpose) {
  Compute compute;
  compute.device = ParseDevice(device);
  // cuDNN's attention makes a plan for every shape of a batch, which takes longer than all else.
  at::globalContext().setSDPUseCuDNN(false);
  // Blocks that grow: fixed ones of many sizes cost a quarter more memory than is used.
  if (compute.device.is_cuda())
    c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  if (dtype == "float32") {
    compute.dtype = at::kFloat;
  } else if (dtype == "bfloat16") {
    compute.dtype = at::kBFloat16;
  } else if (dtype == "auto") {
    const bool fast = compute.device.is_cuda() ? cuda::Available(compute.device.index())
                                               : ProcessorMultipliesBfloat16();
    compute.dtype = purpose == Purpose::kCalibrate && fast ? at::kBFloat16 : at::kFloat;
  } else {
    ThrowUsage({.what = "unknown dtype",
                .where = "--dtype",
                .expected = "auto, float32 or bfloat16",
                .found = dtype});
  }
  return compute;
}

void UseThreads(int threads) {
  if (threads > 0) at::set_num_threads(threads);
}

void ReleaseKeptMemory(const Compute& compute) {
  if (compute.device.is_cpu()) return;
  c10::getDeviceAllocator(compute.device.type())->emptyCache();
}

int64_t PeakDeviceBytes(const Compute& compute) {
  if (compute.device.is_cpu()) return 0;
  constexpr auto kAll =
      static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);  // pools large and small
  const auto stats =
      c10::getDeviceAllocator(compute.device.type())->getDeviceStats(compute.device.index());
  return stats.reserved_bytes[kAll].peak;
}

std::string DeviceName(const Compute& compute) { return compute.device.str(); }

std::string DeviceModel(const Compute& compute) {
  return compute.device.is_cuda() ? cuda::NameOf(compute.device.index()) : std::string();
}

std::string DtypeName(const Compute& compute) {
  return compute.dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace coppice
