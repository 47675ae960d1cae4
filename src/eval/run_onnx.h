// Runs an ONNX file over samples in ONNX Runtime, through a Python that has it: what checks a file
// that was written. coppice itself neither links nor needs the runtime.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/samples.h"

namespace coppice {

struct OnnxRun {
  std::string runtime;              // "onnxruntime 1.23.2"; empty where none is at hand
  std::string failure;              // what went wrong, in one line; empty where nothing did
  std::vector<at::Tensor> outputs;  // of every sample, as RunModel() gives them
};

// file: as export/onnx_encoder.h describes it, of a model with this spec. threads: 0 for all.
OnnxRun RunOnnx(const std::filesystem::path& file, const ModelSpec& spec, const Samples& samples,
                int threads);

// What an ONNX file is for, by its outputs.
struct OnnxDescription {
  std::string runtime, failure;  // as above
  Task task = Task::kNone;
  int64_t labels = 0;
};

OnnxDescription DescribeOnnx(const std::filesystem::path& file);

}  // namespace coppice
