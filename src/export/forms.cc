#include "export/forms.h"

#include <algorithm>

#include "core/error.h"
#include "export/gguf.h"
#include "export/gguf_metadata.h"
#include "export/huggingface.h"
#include "export/onnx.h"
#include "model/head_widths.h"

namespace coppice {
namespace {

bool Always(const ModelSpec&) { return true; }
bool Never(const ModelSpec&) { return false; }

void RequireGgufForm(const Model& model, const FormOptions& options) {
  if (HasNarrowHeads(model.spec)) {
    ThrowUsage({.what = "GGUF holds no heads that are narrower than others",
                .where = "--to gguf",
                .found = model.source.string(),
                .hint = "write hf, or prune with --finer none"});
  }
  if (model.spec.form == BlockForm::kDecoder && model.spec.image.grid == 0) {
    MakeGgufMetadata(model, options.vocabulary);
    return;
  }
  ThrowUsage({.what = "only language models are written as GGUF",
              .where = "--to gguf",
              .expected = "a language model of text",
              .found = model.spec.family + ", " + TaskName(model.spec.task),
              .hint = model.spec.form == BlockForm::kEncoder ? "write onnx or hf" : "write hf"});
}

}  // namespace

const std::vector<Form>& Forms() {
  using Path = std::filesystem::path;
  static const std::vector<Form> forms = {
      {.name = "hf",
       .file = "model.safetensors",
       .narrow_heads = [](const ModelSpec& spec) { return spec.image.grid == 0; },
       .require = [](const Model&, const FormOptions&) {},
       .write = [](const Model& model, const FormOptions&,
                   const Path& folder) { WriteHuggingFace(model, folder); }},
      {.name = "gguf",
       .file = "model.gguf",
       .narrow_heads = Never,
       .require = RequireGgufForm,
       .write =
           [](const Model& model, const FormOptions& options, const Path& folder) {
             WriteGgufModel(model, options.gguf_type, folder, options.vocabulary);
           }},
      {.name = "onnx",
       .file = "model.onnx",
       .narrow_heads = Always,
       .require = [](const Model& model, const FormOptions&) { RequireOnnxForm(model); },
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

void RequireForms(const Model& model, const std::vector<std::string>& forms,
                  const FormOptions& options) {
  for (const std::string& form : forms) FindForm(form).require(model, options);
  const bool gguf = std::find(forms.begin(), forms.end(), "gguf") != forms.end();
  if (!gguf && !options.vocabulary.empty()) {
    ThrowUsage({.what = "--vocabulary is for GGUF files", .hint = "add --to gguf, or drop it"});
  }
}

}  // namespace coppice
