// Evaluation of one model, or of two side by side on the same examples.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/console.h"
#include "eval/compare.h"
#include "eval/evaluate.h"

namespace coppice {

struct MeasureOptions {
  std::filesystem::path data;
  int64_t limit = 0;             // first examples only; 0: all
  bool labels_optional = false;  // no metric, rather than an error, where labels are missing
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;
};

struct Measurement {
  std::optional<Metric> metric;  // nothing for an embedding model, or without labels
  int64_t examples = 0;
  int64_t tokens = 0;
  double seconds = 0;   // of the forward passes
  std::string runtime;  // "coppice", "onnxruntime 1.23.2"
  std::string device, dtype;
};

struct PairMeasurement {
  Measurement first, second;
  Comparison comparison;  // first is the reference
};

// Throw Error for files that cannot be used; the pair must have one task, one number of labels and
// the same token ids. One of a pair or both may be ONNX files, or folders that hold nothing else of
// a model; ONNX Runtime runs them.
Measurement MeasureModel(const std::filesystem::path& model, const MeasureOptions& options,
                         const Console& console);
PairMeasurement MeasurePair(const std::filesystem::path& first, const std::filesystem::path& second,
                            const MeasureOptions& options, const Console& console);

}  // namespace coppice
