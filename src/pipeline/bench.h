// Measured speed of models side by side: random tokens, interleaved repeats, medians. Models of
// coppice's own run here, ONNX files in ONNX Runtime; within a runtime they take turns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/console.h"

namespace coppice {

struct BenchOptions {
  // Folders, GGUF files and ONNX files; the first is the baseline of the ratios.
  std::vector<std::filesystem::path> models;
  std::vector<int64_t> batches = {1, 32};
  std::vector<int64_t> lengths = {128};
  int64_t repeats = 20;  // at most; fewer when they would take over `seconds`
  double seconds = 20;   // for one batch and length, all models together
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;
};

// One model at one batch and length. An encoder's forward pass; of a language model the reading of
// a prompt of that length (prefill) and one more token after it (decode).
struct BenchRow {
  std::string model;
  std::string runtime;  // "coppice", "onnxruntime 1.23.2"
  std::string stage;    // "forward", "prefill" or "decode"
  int64_t batch = 0;
  int64_t length = 0;
  int64_t repeats = 0;
  double median_ms = 0;
  double low_ms = 0;   // 10th percentile
  double high_ms = 0;  // 90th percentile
  double tokens_per_second = 0;
  double speedup = 1;  // the first model's median over this one's
};

struct BenchReport {
  std::vector<BenchRow> rows;
  std::string device, dtype;  // of the models that run in coppice; ONNX files have their own dtype
  int threads = 0;
};

// Throws Error: for models that cannot be loaded or compared, lengths that one does not take, and
// kEnvironment for ONNX files without ONNX Runtime. Runs the models in turn, round by round, so
// that whatever else the machine does hits all alike.
BenchReport Bench(const BenchOptions& options, const Console& console);

}  // namespace coppice
