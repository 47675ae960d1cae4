// What the tests of the language models' tokenizers share; see tools/make_lm_tokenizer_goldens.py.
#pragma once

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "tokenize/gguf_tokenizer.h"
#include "tokenize/tokenizer_testing.h"

namespace coppice {

inline nlohmann::json ReadLmJson(const std::string& name) {
  return ReadTestJson("../tokenize-lm/" + name);
}

// A text as the goldens write it: a string, or a repeated one with an end.
inline std::string ExpandText(const nlohmann::json& text) {
  if (text.is_string()) return text.get<std::string>();
  std::string expanded;
  for (int i = 0; i < text["repeat"][1].get<int>(); ++i) {
    expanded += text["repeat"][0].get<std::string>();
  }
  return expanded + text.value("then", "");
}

// The digest of one list.
template <typename Number>
std::string DigestOf(std::span<const Number> numbers) {
  Digest digest;
  digest.AddList<Number>(numbers);
  return digest.Hex();
}

inline std::string TextDigest(std::string_view text) {
  const std::vector<uint8_t> bytes(text.begin(), text.end());
  return DigestOf<uint8_t>(bytes);
}

inline std::vector<int32_t> Ids(const std::vector<Token>& tokens) {
  std::vector<int32_t> ids;
  ids.reserve(tokens.size());
  for (const Token& token : tokens) ids.push_back(token.id);
  return ids;
}

// The vocabulary that a converter makes of a byte-level tokenizer.json.
inline GgufVocabulary MakeGgufVocabulary(const nlohmann::json& document, const std::string& pre) {
  GgufVocabulary vocabulary = {.model = "gpt2", .pre = pre};
  const auto add = [&](const std::string& token, size_t id, int32_t type) {
    if (id >= vocabulary.tokens.size()) {
      vocabulary.tokens.resize(id + 1);
      vocabulary.token_types.resize(id + 1, 1);
    }
    vocabulary.tokens[id] = token;
    vocabulary.token_types[id] = type;
  };
  for (const auto& [token, id] : document["model"]["vocab"].items()) add(token, id, 1);
  for (const nlohmann::json& token : document["added_tokens"]) {
    add(token["content"], token["id"], token["special"].get<bool>() ? 3 : 4);
  }
  for (const nlohmann::json& pair : document["model"]["merges"]) {
    vocabulary.merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
  }
  return vocabulary;
}

}  // namespace coppice
