#include "tokenize/bpe_tables.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

namespace coppice {
namespace {

void RefuseVariants(const JsonNode& node) {
  if (const auto dropout = node.Find("dropout"); dropout && dropout->value() != 0.0) {
    dropout->Refuse("dropout", "null: tokens must not depend on chance");
  }
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto affix = node.Find(key);
    if (affix && !affix->String().empty()) affix->Refuse(key, "null or an empty string");
  }
}

bool ReadFlag(const JsonNode& node, const char* key) {
  const auto flag = node.Find(key);
  return flag && flag->Bool();
}

std::optional<int32_t> ReadUnknown(const JsonNode& node, const Vocabulary& vocabulary) {
  const auto unknown = node.Find("unk_token");
  if (!unknown) return std::nullopt;
  const std::optional<int32_t> id = vocabulary.Find(unknown->String());
  if (!id) {
    unknown->Fail({.what = fmt::format("unknown token \"{}\" is not in the vocabulary",
                                       Printable(unknown->String()))});
  }
  return id;
}

// A merge is written as "left right" or as ["left", "right"].
MergePair ReadMerge(const JsonNode& element) {
  std::optional<MergePair> pair;
  if (!element.IsArray()) {
    pair = ReadMergePair(element.String());
  } else if (const std::vector<JsonNode> parts = element.Elements(); parts.size() == 2) {
    pair = {.left = parts[0].String(), .right = parts[1].String()};
  }
  if (!pair) element.Fail({.what = "bad merge", .expected = "two tokens"});
  return *pair;
}

void ReadMerges(const JsonNode& node, BpeTables& tables) {
  const std::vector<JsonNode> elements = node.Elements();
  tables.merges.Reserve(elements.size());
  int32_t rank = 0;
  for (const JsonNode& element : elements) {
    // A line of the older files' header.
    if (element.IsString() && element.String().starts_with("#version")) continue;
    if (const auto problem = AddMerge(ReadMerge(element), rank++, tables)) element.Fail(*problem);
  }
}

}  // namespace

std::optional<MergePair> ReadMergePair(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return MergePair{.left = text.substr(0, space), .right = text.substr(space + 1)};
}

std::optional<Problem> AddMerge(MergePair pair, int32_t rank, BpeTables& tables) {
  const std::string joined = fmt::format("{}{}", pair.left, pair.right);
  std::array<int32_t, 3> ids{};
  const std::array<std::string_view, 3> tokens = {joined, pair.left, pair.right};
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::optional<int32_t> id = tables.vocabulary.Find(tokens[i]);
    if (!id) {
      return Problem{.what = fmt::format("merge of a token that is not in the vocabulary, \"{}\"",
                                         Printable(tokens[i]))};
    }
    ids[i] = *id;
  }
  tables.merges.Set(ids[1], ids[2], {.rank = rank, .id = ids[0]});
  return std::nullopt;
}

BpeTables ReadBpeTables(const JsonNode& node) {
  BpeTables tables = {.vocabulary = Vocabulary::Read(node.Get("vocab")), .merges = {}};
  RefuseVariants(node);
  tables.fuse_unknown = ReadFlag(node, "fuse_unk");
  tables.byte_fallback = ReadFlag(node, "byte_fallback");
  tables.ignore_merges = ReadFlag(node, "ignore_merges");
  tables.unknown = ReadUnknown(node, tables.vocabulary);
  ReadMerges(node.Get("merges"), tables);
  return tables;
}

}  // namespace coppice
