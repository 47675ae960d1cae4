#include "export/forms.h"

#include "core/error.h"
#include "export/gguf.h"
#include "export/huggingface.h"
#include "export/onnx.h"

namespace coppice {
namespace {

void RequireGgufForm(const Model& model) {
  if (model.spec.form == BlockForm::kDecoder) return;
  ThrowUsage({.what = "encoders are not written as GGUF",
              .where = "--to gguf",
              .expected = "a language model",
              .found = model.spec.family + ", " + TaskName(model.spec.task),
              .hint = "write onnx or hf"});
}

}  // namespace

const std::vector<Form>& Forms() {
  using Path = std::filesystem::path;
  static const std::vector<Form> forms = {
      {.name = "hf",
       .file = "model.safetensors",
       .require = [](const Model&) {},
       .write = [](const Model& model, const FormOptions&,
                   const Path& folder) { WriteHuggingFace(model, folder); }},
      {.name = "gguf",
       .file = "model.gguf",
       .require = RequireGgufForm,
       .write = [](const Model& model, const FormOptions& options,
                   const Path& folder) { WriteGgufModel(model, options.gguf_type, folder); }},
      {.name = "onnx",
       .file = "model.onnx",
       .require = RequireOnnxForm,
       .write = [](const Model& model, const FormOptions& options,
                   const Path& folder) { WriteOnnx(model, options.onnx_style, folder); }},
  };
  return forms;
}

const Form& FindForm(const std::string& name) {
  std::string names;
  for (const Form& form : Forms()) {
    if (form.name == name) return form;
    names += (names.empty() ? "" : ", ") + form.name;
  }
  ThrowUsage(
      {.what = "unknown form", .where = "--to", .expected = names, .found = Printable(name)});
}

}  // namespace coppice
