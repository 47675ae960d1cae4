// Writes a model in other forms, without changing it: the job behind `coppice export`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/console.h"
#include "pipeline/proof.h"

namespace coppice {

struct ExportOptions {
  std::filesystem::path model;
  std::filesystem::path out;         // a folder
  std::vector<std::string> forms;    // "hf", "gguf", "onnx"
  bool replace = false;              // --force
  std::string gguf_type = "f16";     // of the matrices in a GGUF file
  std::filesystem::path vocabulary;  // of a GGUF file: another's; empty: the model's own
  bool plain = false;                // ONNX: standard operators only
  int threads = 0;
};

struct ExportReport {
  std::filesystem::path out;
  std::vector<FormProof> forms;  // checked on random tokens
  int64_t bytes = 0;             // of the forms' files
  double seconds = 0;
};

// Throws Error; leaves nothing behind when it does.
ExportReport Export(const ExportOptions& options, const Console& console);

}  // namespace coppice
