#include "tokenize/gguf_tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "tokenize/gguf_pre_tokenization.h"
#include "tokenize/post_processor.h"
#include "tokenize/score_merges.h"
#include "tokenize/tokenizer_parts.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

using Json = nlohmann::ordered_json;

int32_t TypeOf(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.token_types.empty() ? kNormalToken : vocabulary.token_types[id];
}

Json AddedTokenList(const GgufVocabulary& vocabulary) {
  Json list = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const int32_t type = TypeOf(vocabulary, id);
    const bool special = type == kControlToken || type == kUnknownToken;
    if (vocabulary.tokens[id].empty() || (!special && type != kUserDefinedToken)) continue;
    list.push_back({{"id", id},
                    {"content", vocabulary.tokens[id]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", special}});
  }
  return list;
}

Json VocabularyObject(const GgufVocabulary& vocabulary) {
  Json object = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    // Ascending and without repeats: pushed, since looking each up is quadratic.
    if (!vocabulary.tokens[id].empty())
      object.get_ref<Json::object_t&>().emplace_back(vocabulary.tokens[id], id);
  }
  return object;
}

// One split a component, then bytes as characters. Nothing for a split that has no component.
std::optional<Json> PreTokenizerOf(const PreTokenization& pre) {
  Json steps = Json::array();
  bool gpt2 = false;  // which the last component does itself
  for (const WordSplit split : pre.splits) {
    const std::string_view regex = RegexOf(split);
    gpt2 = split == SplitAsGpt2 && split == pre.splits.back();
    if (gpt2) break;
    if (split == SplitDigits) {
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else if (!regex.empty()) {
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", regex}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    } else {
      return std::nullopt;
    }
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", gpt2}});
  if (steps.size() == 1) return steps[0];
  return Json{{"type", "Sequence"}, {"pretokenizers", steps}};
}

Json PostProcessorOf(const GgufVocabulary& vocabulary, const Template& single,
                     const Template& pair) {
  if (single.size() == 1) return nullptr;
  Json special = Json::object();
  const auto pieces = [&](const Template& list) {
    Json json = Json::array();
    for (const TemplatePiece& piece : list) {
      if (piece.sequence >= 0) {
        json.push_back(
            {{"Sequence", {{"id", piece.sequence == 0 ? "A" : "B"}, {"type_id", piece.type_id}}}});
        continue;
      }
      const std::string& token = vocabulary.tokens[static_cast<size_t>(piece.id)];
      json.push_back({{"SpecialToken", {{"id", token}, {"type_id", piece.type_id}}}});
      special[token] = {{"id", token}, {"ids", {piece.id}}, {"tokens", {token}}};
    }
    return json;
  };
  Json json = {{"type", "TemplateProcessing"}, {"single", pieces(single)}, {"pair", pieces(pair)}};
  json["special_tokens"] = special;
  return json;
}

Json ByteLevelModel(const GgufVocabulary& vocabulary, bool ignore_merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", ignore_merges},
          {"vocab", VocabularyObject(vocabulary)},
          {"merges", vocabulary.merges}};
}

}  // namespace

TokenizerJson MakeTokenizerJson(const GgufVocabulary& vocabulary, const std::string& where) {
  MakeGgufTokenizer(vocabulary, where);  // refuses what is no vocabulary
  if (vocabulary.model != "gpt2") {
    return {{}, fmt::format("no tokenizer.json of a vocabulary of kind \"{}\"", vocabulary.model)};
  }
  const std::string pre = vocabulary.pre.empty() ? "default" : vocabulary.pre;
  const PreTokenization& found = *FindPreTokenization(pre);
  const std::optional<Json> pre_tokenizer = PreTokenizerOf(found);
  if (!pre_tokenizer)
    return {{}, fmt::format("no tokenizer.json cuts words as pre-tokenizer \"{}\"", pre)};
  const bool add_bos = vocabulary.add_bos.value_or(found.add_bos);
  const PostProcessor ends =
      MakePostProcessor(add_bos ? vocabulary.bos : std::nullopt,
                        vocabulary.add_eos.value_or(false) ? vocabulary.eos : std::nullopt);
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", AddedTokenList(vocabulary)},
                     {"normalizer", found.compose ? Json{{"type", "NFC"}} : Json()},
                     {"pre_tokenizer", *pre_tokenizer},
                     {"post_processor", PostProcessorOf(vocabulary, ends.single, ends.pair)},
                     {"decoder",
                      {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}}},
                     {"model", ByteLevelModel(vocabulary, found.ignore_merges)}};
  return {json.dump(2) + "\n", {}};
}

std::string MakeTokenizerConfig(const GgufVocabulary& vocabulary, int64_t max_tokens,
                                const std::string& chat_template) {
  Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"clean_up_tokenization_spaces", false},
               {"model_max_length", max_tokens}};
  const auto name = [&](const char* key, std::optional<int32_t> id) {
    if (id) json[key] = vocabulary.tokens.at(static_cast<size_t>(*id));
  };
  name("bos_token", vocabulary.bos);
  name("eos_token", vocabulary.eos);
  name("unk_token", vocabulary.unk);
  name("pad_token", vocabulary.pad);
  if (!chat_template.empty()) json["chat_template"] = chat_template;
  return json.dump(2) + "\n";
}

}  // namespace coppice
