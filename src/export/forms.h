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
  OnnxStyle onnx_style = OnnxStyle::kFused;
};

struct Form {
  std::string name;
  std::string file;  // that holds the model, in the folder
  // Throws Error (kUsage) for a model that has no such form, whatever its sizes.
  void (*require)(const Model& model);
  // Fills `folder`, beside other forms where there are any.
  void (*write)(const Model& model, const FormOptions& options,
                const std::filesystem::path& folder);
};

const std::vector<Form>& Forms();

// Throws Error (kUsage) for an unknown name.
const Form& FindForm(const std::string& name);

}  // namespace coppice
