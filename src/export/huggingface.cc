#include "export/huggingface.h"

#include <fmt/format.h>

#include "core/file.h"
#include "export/modeling_code.h"
#include "load/safetensors.h"
#include "model/hugging_face.h"

namespace coppice {

void WriteHuggingFace(const Model& model, const std::filesystem::path& folder) {
  WriteSafetensors(folder / "model.safetensors", HuggingFaceTensors(model));
  WriteFile(folder / "config.json", model.config.dump(2) + "\n");
  if (model.config.contains("coppice"))
    WriteFile(folder / fmt::format("{}.py", kRemoteModule), kModelingCode);
  for (const std::filesystem::path& file : model.passthrough) {
    WriteFile(folder / file.filename(), ReadFile(file));
  }
}

}  // namespace coppice
