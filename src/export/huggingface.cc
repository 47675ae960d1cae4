#include "export/huggingface.h"

#include "core/file.h"
#include "load/safetensors.h"

namespace coppice {

void WriteHuggingFace(const Model& model, const std::filesystem::path& folder) {
  WriteSafetensors(folder / "model.safetensors", StoredTensors(model));
  WriteFile(folder / "config.json", model.config.dump(2) + "\n");
  for (const std::filesystem::path& file : model.passthrough) {
    WriteFile(folder / file.filename(), ReadFile(file));
  }
}

}  // namespace coppice
