#include "tokenize/gguf_pre_tokenization.h"

#include <algorithm>

namespace coppice {

const std::vector<PreTokenization>& PreTokenizations() {
  static const std::vector<PreTokenization> list = {
      {.name = "default",
       .splits = {SplitPunctuation, SplitAsGpt2, SplitNumbers, SplitThreeDigits}},
      {.name = "gpt-2", .splits = {SplitAsGpt2}},
      {.name = "llama-bpe", .splits = {SplitAsLlama3}, .ignore_merges = true, .add_bos = true},
      {.name = "llama3", .splits = {SplitAsLlama3}, .ignore_merges = true, .add_bos = true},
      {.name = "llama-v3", .splits = {SplitAsLlama3}, .ignore_merges = true, .add_bos = true},
      {.name = "qwen2", .splits = {SplitAsQwen2}, .compose = true},
      {.name = "smollm", .splits = {SplitDigits, SplitAsGpt2}},
  };
  return list;
}

const PreTokenization* FindPreTokenization(std::string_view name) {
  const auto& list = PreTokenizations();
  const auto found = std::find_if(
      list.begin(), list.end(), [name](const PreTokenization& each) { return each.name == name; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace coppice
