#include "export/gguf.h"

#include "core/error.h"
#include "export/gguf_metadata.h"
#include "load/gguf_writer.h"
#include "model/llama_gguf.h"

namespace coppice {

GgmlType ParseGgufType(const std::string& name) {
  if (name == "f32") return GgmlType::kF32;
  if (name == "f16") return GgmlType::kF16;
  if (name == "bf16") return GgmlType::kBF16;
  if (name == "q8_0") return GgmlType::kQ8_0;
  ThrowUsage({.what = "unknown type",
              .where = "--gguf-type",
              .expected = "f32, f16, bf16 or q8_0",
              .found = name});
}

void WriteGgufModel(const Model& model, GgmlType type, const std::filesystem::path& folder,
                    const std::filesystem::path& vocabulary) {
  Model whole = model;  // shares the tensors
  whole.gguf = MakeGgufMetadata(model, vocabulary);
  const GgufContents contents = MakeLlamaGguf(whole, type);
  WriteGguf(folder / "model.gguf", contents.metadata, contents.tensors);
}

}  // namespace coppice
