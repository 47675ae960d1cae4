// The forms that a model is written in, by the names that --to takes: the one list of them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "export/onnx_layers.h"
#include "load/gguf_types.h"
#include "model/model.h"

namespace coppice {

struct FormOptions {
  GgmlType gguf_type = GgmlType::kF16;  // of the matrices in a GGUF file
  std::filesystem::path vocabulary;     // of a GGUF file: another's; empty: the model's own
  OnnxStyle onnx_style = OnnxStyle::kFused;
};

struct Form {
  std::string name;
  std::string file;  // that holds the model, in the folder
  // Whether it holds a model of this kind with heads that are narrower inside than the dense
  // model's.
  bool (*narrow_heads)(const ModelSpec& spec);
  // Throws Error (kUsage) for a model that has no such form, whatever its sizes, and Error
  // (kBadInput) for what else the form needs and does not get.
  void (*require)(const Model& model, const FormOptions& options);
  // Fills `folder`, beside other forms where there are any.
  void (*write)(const Model& model, const FormOptions& options,
                const std::filesystem::path& folder);
};

const std::vector<Form>& Forms();

// Throws Error (kUsage) for an unknown name.
const Form& FindForm(const std::string& name);

// Throws Error as the forms' require() does, and for options that none of them reads.
void RequireForms(const Model& model, const std::vector<std::string>& forms,
                  const FormOptions& options);

}  // namespace coppice
