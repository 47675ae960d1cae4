#include "pipeline/proof.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "core/version.h"
#include "eval/compare.h"
#include "eval/run_model.h"
#include "eval/run_onnx.h"
#include "export/forms.h"
#include "export/huggingface.h"
#include "model/finite.h"

namespace coppice {
namespace {

constexpr size_t kSamples = 8, kTexts = 2;
constexpr size_t kTextTokens = 64;
constexpr double kTolerance = 1e-3;  // of the largest output, where that is above 1

// In float32 on the CPU, from its file where it is large.
std::vector<at::Tensor> RunExactly(const Model& model, const Samples& samples, int64_t memory) {
  return RunModel(Bind(model, {.memory = memory}), samples, Console(true));
}

// Outputs of a form's file, as OnnxRun says.
OnnxRun RunForm(const Form& form, const ModelSpec& spec, const std::filesystem::path& folder,
                const Samples& samples, const ProofLimits& limits) {
  if (form.name == "onnx") return RunOnnx(folder / form.file, spec, samples, limits.threads);
  const Model model = LoadModel(form.name == "gguf" ? folder / form.file : folder);
  return {.runtime = fmt::format("coppice {}", kVersion),
          .failure = {},
          .outputs = RunExactly(model, samples, limits.memory)};
}

double Largest(const std::vector<at::Tensor>& outputs) {
  double largest = 0;
  for (const at::Tensor& output : outputs)
    largest = std::max(largest, output.abs().max().item<double>());
  return largest;
}

}  // namespace

Samples ProofSamples(const ModelSpec& spec, const Samples& samples) {
  const bool language = spec.task == Task::kLanguageModel;
  Samples few;
  for (const Sample& sample : samples.samples) {
    if (few.samples.size() == (language ? kTexts : kSamples)) break;
    Encoding encoding = sample.encoding;
    if (language && encoding.ids.size() > kTextTokens) {
      encoding.ids.resize(kTextTokens);
      encoding.type_ids.resize(std::min(encoding.type_ids.size(), kTextTokens));
    }
    few.samples.push_back({.encoding = std::move(encoding)});
  }
  return few;
}

Samples RandomProofSamples(const ModelSpec& spec) {
  Random random(0);
  Samples samples;
  for (size_t i = 1; i <= kSamples; ++i) {
    const size_t tokens =
        std::min(kTextTokens * i / kSamples, static_cast<size_t>(spec.max_tokens));
    Sample& sample = samples.samples.emplace_back();
    sample.encoding.type_ids.assign(std::max<size_t>(tokens, 2), 0);
    for (size_t t = 0; t < sample.encoding.type_ids.size(); ++t) {
      const int64_t id = random.Below(spec.vocabulary);
      sample.encoding.ids.push_back(
          static_cast<int32_t>(id == spec.pad_id ? (id + 1) % spec.vocabulary : id));
    }
  }
  return ProofSamples(spec, samples);
}

std::vector<FormProof> ProveForms(const Model& model, const std::vector<std::string>& forms,
                                  const std::filesystem::path& folder, const Samples& samples,
                                  const ProofLimits& limits, const Console& console) {
  const std::vector<at::Tensor> reference = RunExactly(model, samples, limits.memory);
  if (!AllFinite(reference)) ThrowNotFinite(model, "outputs of the model to be written");
  std::vector<FormProof> proofs;
  for (const std::string& name : forms) {
    const Form& form = FindForm(name);
    if (const std::string problem = name == "hf" ? TokenizerProblem(model) : ""; !problem.empty())
      console.Warn(fmt::format("the folder has no tokenizer: {}", problem));
    const OnnxRun run = RunForm(form, model.spec, folder, samples, limits);
    FormProof& proof = proofs.emplace_back();
    proof.form = name;
    proof.file = form.file;
    proof.runtime = run.runtime;
    proof.largest_output = Largest(reference);
    if (!run.failure.empty())
      console.Warn(fmt::format("{} cannot run {}: {}", run.runtime, form.file, run.failure));
    if (run.outputs.empty()) continue;
    proof.samples = static_cast<int64_t>(samples.samples.size());
    proof.max_difference = CompareOutputs(model.spec.task, reference, run.outputs).max_difference;
    const bool exact = name != "gguf";  // which rounds its matrices
    if (exact && !(*proof.max_difference <= kTolerance * std::max(1.0, proof.largest_output))) {
      console.Warn(fmt::format("{} in {} gives outputs that differ by {:.3g}", form.file,
                               run.runtime, *proof.max_difference));
    }
  }
  return proofs;
}

nlohmann::ordered_json ProofsJson(const std::vector<FormProof>& proofs) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FormProof& proof : proofs) {
    nlohmann::ordered_json one = {{"form", proof.form},
                                  {"file", proof.file},
                                  {"runtime", nullptr},
                                  {"max_difference", nullptr},
                                  {"largest_output", proof.largest_output},
                                  {"samples", proof.samples}};
    if (!proof.runtime.empty()) one["runtime"] = proof.runtime;
    if (proof.max_difference) one["max_difference"] = *proof.max_difference;
    list.push_back(std::move(one));
  }
  return list;
}

std::string ProofLines(const std::vector<FormProof>& proofs) {
  std::string lines;
  for (const FormProof& proof : proofs) {
    lines += fmt::format("{:<12} ", proof.form);
    lines +=
        proof.max_difference
            ? fmt::format("largest difference {:.2g} of outputs up to {:.3g} ({}, {} samples)\n",
                          *proof.max_difference, proof.largest_output, proof.runtime, proof.samples)
        : proof.runtime.empty()
            ? "not checked: no Python with onnxruntime (COPPICE_PYTHON names one)\n"
            : fmt::format("not checked: {} could not run it\n", proof.runtime);
  }
  return lines;
}

}  // namespace coppice
