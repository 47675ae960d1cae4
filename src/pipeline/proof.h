// The proof with the product: a form that was written is loaded again, in its runtime where that is
// at hand, and its outputs are held against those of the model in memory.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "core/machine_memory.h"
#include "model/network.h"

namespace coppice {

struct FormProof {
  std::string form;
  std::string file;
  std::string runtime;                   // that ran it: "coppice 0.1.0"; empty: none was at hand
  std::optional<double> max_difference;  // of any output number; nothing without a runtime
  double largest_output = 0;             // absolute, of the model in memory
  int64_t samples = 0;
};

// The first few samples, and of a language model's the first tokens: enough to see a wrong file.
Samples ProofSamples(const ModelSpec& spec, const Samples& samples);

// The same number of random tokens, for an export without examples.
Samples RandomProofSamples(const ModelSpec& spec);

struct ProofLimits {
  int threads = 0;              // of another runtime; 0: all
  int64_t memory = kUnlimited;  // as Compute has it
};

// Compares each of `forms` in `folder` with `model` in float32. Warns where a form that should be
// exact is not, and where a form's runtime refuses its file.
std::vector<FormProof> ProveForms(const Model& model, const std::vector<std::string>& forms,
                                  const std::filesystem::path& folder, const Samples& samples,
                                  const ProofLimits& limits, const Console& console);

// [{"form", "file", "runtime", "max_difference", "largest_output", "samples"}]; null for what is
// not known.
nlohmann::ordered_json ProofsJson(const std::vector<FormProof>& proofs);

// "onnx in onnxruntime 1.23.2: largest difference 2e-06 on 8 samples", a line each.
std::string ProofLines(const std::vector<FormProof>& proofs);

}  // namespace coppice
