#include "export/huggingface.h"

#include <fmt/format.h>

#include "core/file.h"
#include "export/gguf_vocabulary_keys.h"
#include "export/modeling_code.h"
#include "load/safetensors.h"
#include "model/hugging_face.h"
#include "model/image_family.h"
#include "tokenize/gguf_tokenizer_json.h"

namespace coppice {
namespace {

// Of a GGUF file's vocabulary, where there is such a tokenizer.json.
void WriteTokenizer(const Model& model, const std::filesystem::path& folder) {
  const GgufVocabulary vocabulary = VocabularyOf(*model.gguf);
  const TokenizerJson tokenizer = MakeTokenizerJson(vocabulary, model.source.string());
  if (tokenizer.text.empty()) return;
  WriteFile(folder / "tokenizer.json", tokenizer.text);
  WriteFile(folder / "tokenizer_config.json",
            MakeTokenizerConfig(vocabulary, model.spec.max_tokens, ChatTemplateOf(*model.gguf)));
}

}  // namespace

std::string TokenizerProblem(const Model& model) {
  if (!model.gguf) return {};
  return MakeTokenizerJson(VocabularyOf(*model.gguf), model.source.string()).problem;
}

void WriteHuggingFace(const Model& model, const std::filesystem::path& folder) {
  WriteSafetensors(folder / "model.safetensors", HuggingFaceTensors(model));
  WriteFile(folder / "config.json", model.config.dump(2) + "\n");
  const LoaderFile* loader = LoaderOf(model.spec);
  if (loader == nullptr && model.config.contains("coppice"))
    WriteFile(folder / fmt::format("{}.py", kRemoteModule), kModelingCode);
  if (model.gguf) WriteTokenizer(model, folder);
  for (const std::filesystem::path& file : model.passthrough) {
    const bool replaced = loader != nullptr && file.filename() == loader->name;
    if (!replaced) CopyFile(file, folder / file.filename());
  }
  if (loader != nullptr) WriteFile(folder / loader->name, loader->text);
}

}  // namespace coppice
