#include "pipeline/source.h"

#include <limits>
#include <string_view>

#include "core/error.h"
#include "tokenize/gguf_tokenizer.h"

namespace coppice {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

// The value of one key as a T, where it is there and of that kind.
template <typename T>
std::optional<T> Get(const GgufMetadata& metadata, std::string_view key) {
  for (const auto& [name, value] : metadata) {
    if (name.starts_with(kPrefix) && name.substr(kPrefix.size()) == key)
      return value.template As<T>();
  }
  return std::nullopt;
}

template <typename To, typename From>
std::vector<To> Narrow(const std::optional<std::vector<From>>& numbers) {
  std::vector<To> narrow;
  for (const From number : numbers.value_or(std::vector<From>{}))
    narrow.push_back(static_cast<To>(number));
  return narrow;
}

std::optional<int32_t> GetId(const GgufMetadata& metadata, std::string_view key) {
  const std::optional<int64_t> id = Get<int64_t>(metadata, key);
  if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int32_t>(*id);
}

GgufVocabulary VocabularyOf(const GgufMetadata& metadata) {
  using Texts = std::vector<std::string>;
  GgufVocabulary vocabulary;
  vocabulary.model = Get<std::string>(metadata, "model").value_or("");
  vocabulary.pre = Get<std::string>(metadata, "pre").value_or("");
  vocabulary.tokens = Get<Texts>(metadata, "tokens").value_or(Texts{});
  vocabulary.merges = Get<Texts>(metadata, "merges").value_or(Texts{});
  vocabulary.token_types = Narrow<int32_t>(Get<std::vector<int64_t>>(metadata, "token_type"));
  vocabulary.scores = Narrow<float>(Get<std::vector<double>>(metadata, "scores"));
  vocabulary.bos = GetId(metadata, "bos_token_id");
  vocabulary.eos = GetId(metadata, "eos_token_id");
  vocabulary.unk = GetId(metadata, "unknown_token_id");
  vocabulary.pad = GetId(metadata, "padding_token_id");
  vocabulary.add_bos = Get<bool>(metadata, "add_bos_token");
  vocabulary.add_eos = Get<bool>(metadata, "add_eos_token");
  vocabulary.add_space_prefix = Get<bool>(metadata, "add_space_prefix");
  return vocabulary;
}

}  // namespace

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
