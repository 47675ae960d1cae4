#include "export/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "load/gguf.h"
#include "load/strict_json.h"
#include "model/llama_gguf.h"
#include "tokenize/gguf_vocabulary.h"

namespace coppice {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kTokenizer = "tokenizer.";
constexpr const char* kHint = "give a GGUF file of the same model: --vocabulary FILE";

// tokenizer_config.json, or an empty object.
json ReadTokenizerConfig(const fs::path& folder) {
  const fs::path file = folder / "tokenizer_config.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return json::object();
  return ParseStrictJson<json>(ReadFile(file), file, "tokenizer config");
}

// A token's text, written as a string or as an object with its content; empty without one.
std::string TokenText(const json& tokenizer_config, const std::string& name) {
  const auto found = tokenizer_config.find(name);
  if (found == tokenizer_config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  const auto content = found->is_object() ? found->find("content") : found->end();
  return found->is_object() && content != found->end() && content->is_string()
             ? content->get<std::string>()
             : std::string();
}

// The id of a special token: by its text, or by its number in config.json, the first of several.
std::optional<int32_t> SpecialId(const Model& model, const json& tokenizer_config,
                                 const GgufVocabulary& vocabulary, const std::string& name) {
  const std::string text = TokenText(tokenizer_config, name);
  const auto token = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text);
  if (!text.empty() && token != vocabulary.tokens.end())
    return static_cast<int32_t>(token - vocabulary.tokens.begin());
  const auto found = model.config.find(name + "_id");
  if (found == model.config.end()) return std::nullopt;
  const auto& id = found->is_array() && !found->empty() ? found->front() : *found;
  if (!id.is_number_integer() || id < 0 || id >= vocabulary.tokens.size()) return std::nullopt;
  return id.get<int32_t>();
}

// The chat template, empty without one; of several, the one named "default".
std::string ChatTemplate(const fs::path& folder, const json& tokenizer_config) {
  const fs::path file = folder / "chat_template.jinja";
  std::error_code ignored;
  if (fs::exists(file, ignored)) return ReadFile(file);
  const auto found = tokenizer_config.find("chat_template");
  if (found == tokenizer_config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return {};
  for (const json& one : *found) {
    if (one.is_object() && one.value("name", json()) == "default" &&
        one.value("template", json()).is_string())
      return one["template"].get<std::string>();
  }
  return {};
}

// The vocabulary of a folder, with as many tokens as the model has rows: converters name those
// that no text becomes.
GgufVocabulary FolderVocabulary(const Model& model, const json& tokenizer_config) {
  const fs::path file = model.source / "tokenizer.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    ThrowBadInput({.what = "there is no vocabulary to write",
                   .where = model.source.string(),
                   .expected = "tokenizer.json",
                   .hint = kHint});
  }
  GgufVocabulary vocabulary = ReadGgufVocabulary(file);
  const auto rows = static_cast<size_t>(model.spec.vocabulary);
  if (vocabulary.tokens.size() > rows) {
    ThrowBadInput({.what = "the tokenizer has more tokens than the model",
                   .where = file.string(),
                   .expected = fmt::format("at most {}", rows),
                   .found = fmt::to_string(vocabulary.tokens.size())});
  }
  for (size_t id = vocabulary.tokens.size(); id < rows; ++id) {
    vocabulary.tokens.push_back(fmt::format("[PAD{}]", id));
    vocabulary.token_types.push_back(kUnusedToken);
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(vocabulary.scores.back());
  }
  const auto complete = [&](std::optional<int32_t>* id, const char* name) {
    if (!*id) *id = SpecialId(model, tokenizer_config, vocabulary, name);
  };
  complete(&vocabulary.bos, "bos_token");
  complete(&vocabulary.eos, "eos_token");
  complete(&vocabulary.unk, "unk_token");
  complete(&vocabulary.pad, "pad_token");
  return vocabulary;
}

void AddVocabulary(const GgufVocabulary& vocabulary, GgufMetadata* metadata) {
  const auto add = [&](const char* name, const auto& value) {
    metadata->emplace_back(fmt::format("tokenizer.ggml.{}", name), GgufValue::From(value));
  };
  const auto add_if = [&](const char* name, const auto& value) {
    if (value) add(name, *value);
  };
  const auto add_id = [&](const char* name, std::optional<int32_t> id) {
    if (id) add(name, static_cast<uint32_t>(*id));
  };
  add("model", vocabulary.model);
  add("pre", vocabulary.pre.empty() ? std::string("default") : vocabulary.pre);
  add("tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) add("scores", vocabulary.scores);
  add("token_type", vocabulary.token_types);
  if (!vocabulary.merges.empty()) add("merges", vocabulary.merges);
  add_id("bos_token_id", vocabulary.bos);
  add_id("eos_token_id", vocabulary.eos);
  add_id("unknown_token_id", vocabulary.unk);
  add_id("padding_token_id", vocabulary.pad);
  add_if("add_bos_token", vocabulary.add_bos);
  add_if("add_eos_token", vocabulary.add_eos);
  add_if("add_space_prefix", vocabulary.add_space_prefix);
}

// Every key "tokenizer.*" of another file.
void CopyVocabulary(const fs::path& path, const Model& model, GgufMetadata* metadata) {
  const GgufFile file = GgufFile::Open(path);
  const auto tokens = file.Optional<std::vector<std::string>>("tokenizer.ggml.tokens");
  const auto rows = static_cast<size_t>(model.spec.vocabulary);
  if (!tokens || tokens->size() != rows) {
    ThrowBadInput({.what = "this is not the vocabulary of the model",
                   .where = path.string() + ": tokenizer.ggml.tokens",
                   .expected = fmt::format("{} tokens", rows),
                   .found = tokens ? fmt::to_string(tokens->size()) : "none"});
  }
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with(kTokenizer)) metadata->emplace_back(key, value);
  }
}

}  // namespace

GgufMetadata MakeGgufMetadata(const Model& model, const fs::path& vocabulary) {
  if (!HasGgufForm(model.spec)) {
    ThrowUsage({.what = "this model family has no GGUF form",
                .where = "--to gguf",
                .expected = "a language model",
                .found = TaskName(model.spec.task)});
  }
  if (model.gguf && vocabulary.empty()) return *model.gguf;
  GgufMetadata metadata;
  if (model.gguf) {
    metadata = *model.gguf;
    std::erase_if(metadata, [](const auto& pair) { return pair.first.starts_with(kTokenizer); });
  } else {
    metadata = LlamaGgufKeys(model);
    const fs::path folder = fs::weakly_canonical(model.source);
    metadata.emplace_back("general.name", GgufValue::From(folder.filename().string()));
  }
  if (!vocabulary.empty()) {
    CopyVocabulary(vocabulary, model, &metadata);
    return metadata;
  }
  const json tokenizer_config = ReadTokenizerConfig(model.source);
  AddVocabulary(FolderVocabulary(model, tokenizer_config), &metadata);
  if (const std::string text = ChatTemplate(model.source, tokenizer_config); !text.empty())
    metadata.emplace_back("tokenizer.chat_template", GgufValue::From(text));
  return metadata;
}

}  // namespace coppice
