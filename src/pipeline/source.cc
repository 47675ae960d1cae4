#include "pipeline/source.h"

#include "core/error.h"
#include "core/file.h"
#include "export/gguf_vocabulary_keys.h"
#include "load/strict_json.h"
#include "tokenize/gguf_tokenizer.h"

namespace coppice {
void RefuseToReplace(const std::vector<std::filesystem::path>& inputs,
                     const std::filesystem::path& out) {
  namespace fs = std::filesystem;
  for (const fs::path& input : inputs) {
    std::error_code error;
    fs::path at = input.empty() ? fs::path() : fs::canonical(input, error);
    for (; !at.empty() && !error; at = at.parent_path()) {
      std::error_code absent;
      if (fs::equivalent(at, out, absent)) {
        ThrowUsage({.what = "the output folder holds an input of this run",
                    .where = out.string(),
                    .found = input.string(),
                    .hint = "name a folder of its own"});
      }
      if (at == at.root_path()) break;
    }
  }
}

std::filesystem::path FindOnnxFile(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_regular_file(path, error)) return path.extension() == ".onnx" ? path : fs::path();
  if (!fs::is_regular_file(path / "model.onnx", error)) return {};
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".gguf")) return {};
  }
  return path / "model.onnx";
}

OnnxInputs ReadOnnxInputs(const std::filesystem::path& file) {
  OnnxInputs inputs;
  const std::filesystem::path config = file.parent_path() / "config.json";
  std::error_code error;
  if (!std::filesystem::is_regular_file(config, error)) return inputs;
  const auto json = ParseStrictJson<nlohmann::json>(ReadFile(config), config, "config");
  const auto number = [&](const char* key) -> int64_t {
    const auto found = json.find(key);
    return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
  };
  inputs.vocabulary = number("vocab_size");
  inputs.pad_id = number("pad_token_id");
  inputs.token_types = number("type_vocab_size");
  // Some models count positions from behind the padding's: none has room for more than this.
  const int64_t positions = number("max_position_embeddings");
  inputs.max_tokens = positions > 0 ? positions - inputs.pad_id - (inputs.pad_id > 0) : 0;
  return inputs;
}

Tokenizer LoadTokenizer(const Model& model) {
  if (model.gguf) return MakeGgufTokenizer(VocabularyOf(*model.gguf), model.source.string());
  return Tokenizer::Load(model.source / "tokenizer.json");
}

Source OpenSource(const std::filesystem::path& path) {
  Model model = LoadModel(path);
  Tokenizer tokenizer = LoadTokenizer(model);
  return {std::move(model), std::move(tokenizer)};
}

}  // namespace coppice
