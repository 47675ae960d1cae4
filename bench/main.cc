// All benchmarks; bench/run prepares their models, calls this and reads its JSON.
//
//   coppice_bench --models FOLDER [--device cpu] [--dtype auto] [--threads N] [--benchmark_...]
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>

#include "core/error.h"
#include "core/machine_memory.h"
#include "model/device.h"
#include "work.h"

namespace coppice {
namespace {

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  CLI::App app{"coppice's benchmarks"};
  std::string device = "cpu", dtype = "auto";
  BenchSetup setup;
  int threads = 0;
  app.add_option("--models", setup.models)->required()->check(CLI::ExistingDirectory);
  app.add_option("--device", device);
  app.add_option("--dtype", dtype);
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  UseThreads(threads);
  setup.compute = ChooseCompute(device, dtype, Purpose::kCalibrate);
  benchmark::AddCustomContext("device", DeviceName(setup.compute));
  benchmark::AddCustomContext("dtype", DtypeName(setup.compute));
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  RegisterMachine(setup);
  RegisterKernels(setup);
  RegisterStages(setup);
  RegisterLoads(setup);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace coppice

int main(int argc, char** argv) {
  coppice::KeepSmallBlocks();
  try {
    return coppice::Main(argc, argv);
  } catch (const coppice::Error& error) {
    fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
