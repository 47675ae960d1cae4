// The stopwatch of ONNX Runtime: one Python process that holds all files and lets them take turns.
#pragma once

#include <filesystem>

#include "latency/stopwatch.h"

namespace coppice {

struct OnnxTimes {
  std::string runtime;          // "onnxruntime 1.23.2"
  std::vector<Timing> timings;  // of every file
};

// Random tokens below `vocabulary`. Throws Error: kEnvironment without the runtime, kBadInput for a
// file that it cannot run.
OnnxTimes TimeOnnxFiles(const std::vector<std::filesystem::path>& files, int64_t vocabulary,
                        const LatencySetting& setting, const Rounds& rounds);

// Writes the models to temporary files and times those.
std::vector<Timing> TimeInOnnxRuntime(const std::vector<Model>& models,
                                      const LatencySetting& setting, const Rounds& rounds,
                                      const Console& console);

// "onnxruntime 1.23.2". Throws Error (kEnvironment) where there is none.
std::string OnnxRuntimeVersion();

}  // namespace coppice
