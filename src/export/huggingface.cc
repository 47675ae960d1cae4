#include "export/huggingface.h"

#include <fmt/format.h>

#include "core/file.h"
#include "export/modeling_code.h"
#include "load/safetensors.h"
#include "model/hugging_face.h"
#include "model/image_family.h"

namespace coppice {

void WriteHuggingFace(const Model& model, const std::filesystem::path& folder) {
  WriteSafetensors(folder / "model.safetensors", HuggingFaceTensors(model));
  WriteFile(folder / "config.json", model.config.dump(2) + "\n");
  const LoaderFile* loader = LoaderOf(model.spec);
  if (loader == nullptr && model.config.contains("coppice"))
    WriteFile(folder / fmt::format("{}.py", kRemoteModule), kModelingCode);
  for (const std::filesystem::path& file : model.passthrough) {
    const bool replaced = loader != nullptr && file.filename() == loader->name;
    if (!replaced) WriteFile(folder / file.filename(), ReadFile(file));
  }
  if (loader != nullptr) WriteFile(folder / loader->name, loader->text);
}

}  // namespace coppice
