#include "export/gguf_vocabulary_keys.h"

#include <limits>
#include <optional>
#include <string_view>
#include <vector>

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

}  // namespace

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

std::string ChatTemplateOf(const GgufMetadata& metadata) {
  for (const auto& [name, value] : metadata) {
    if (name == "tokenizer.chat_template") return value.As<std::string>().value_or("");
  }
  return {};
}

}  // namespace coppice
