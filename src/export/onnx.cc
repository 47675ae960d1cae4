#include "export/onnx.h"

#include "core/error.h"
#include "core/file.h"
#include "export/onnx_encoder.h"

namespace coppice {

void RequireOnnxForm(const Model& model) {
  if (model.spec.form == BlockForm::kEncoder) return;
  ThrowUsage({.what = "language models are not written as ONNX",
              .where = "--to onnx",
              .expected = "an encoder",
              .found = model.spec.family + ", " + TaskName(model.spec.task),
              .hint = model.spec.image.grid > 0 ? "write hf" : "write gguf or hf"});
}

void WriteOnnx(const Model& model, OnnxStyle style, const std::filesystem::path& folder,
               uint64_t external_above) {
  RequireOnnxForm(model);
  WriteOnnxFile(MakeOnnxEncoder(model, style), folder / "model.onnx", external_above);
  if (std::filesystem::exists(folder / "config.json")) return;  // another form's, and the same
  WriteFile(folder / "config.json", model.config.dump(2) + "\n");
  for (const std::filesystem::path& file : model.passthrough)
    CopyFile(file, folder / file.filename());
}

}  // namespace coppice
