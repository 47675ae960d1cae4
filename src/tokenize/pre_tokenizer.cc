#include "tokenize/pre_tokenizer.h"

#include <fmt/format.h>

#include "tokenize/component.h"

namespace coppice {
namespace {

std::optional<std::vector<JsonNode>> FindPreTokenizers(const JsonNode& root) {
  const std::optional<JsonNode> node = root.Find("pre_tokenizer");
  if (!node) return std::nullopt;
  return ReadComponents(*node, "pretokenizers");
}

[[noreturn]] void RefuseForBpe(const JsonNode& root, const std::vector<JsonNode>& components) {
  root.Get("pre_tokenizer")
      .Refuse(DescribeComponents(components),
              "Metaspace, or ByteLevel, alone or behind Digits and Split, for a BPE model");
}

void AddByteLevel(const JsonNode& node, bool first, PreTokenizer& pre_tokenizer) {
  const JsonNode add_prefix_space = node.Get("add_prefix_space");
  if (add_prefix_space.Bool()) {
    // It would stand before every word that the components before cut.
    if (!first) add_prefix_space.Refuse("add_prefix_space", "false behind another component");
    pre_tokenizer.in_front = SpaceInFront::kAlways;
  }
  const std::optional<JsonNode> use_regex = node.Find("use_regex");
  if (!use_regex || use_regex->Bool()) pre_tokenizer.splits.push_back(SplitAsGpt2);
  pre_tokenizer.byte_level = true;
}

// A Split on one of the regular expressions that leave nothing between their matches: whether the
// matches are kept apart, or everything between them is removed, comes to the same.
WordSplit ReadSplit(const JsonNode& node) {
  const JsonNode pattern = node.Get("pattern");
  const std::optional<JsonNode> regex = pattern.Find("Regex");
  const WordSplit split = regex ? FindSplit(regex->String()) : nullptr;
  if (split == nullptr) {
    const JsonNode text = regex ? *regex : pattern.Get("String");
    text.Refuse(text.String(), "the regular expression of GPT-2, Llama 3 or Qwen2");
  }
  const JsonNode behavior = node.Get("behavior");
  const bool invert = node.Get("invert").Bool();
  if (behavior.String() != "Isolated" && (behavior.String() != "Removed" || !invert)) {
    behavior.Refuse(behavior.String(), "Isolated, or Removed with \"invert\"");
  }
  return split;
}

}  // namespace

Metaspace ReadMetaspace(const JsonNode& node) {
  Metaspace metaspace = {.mark = node.Get("replacement").String()};
  if (metaspace.mark != kSpaceMark) node.Get("replacement").Refuse(metaspace.mark, "U+2581");
  const std::optional<JsonNode> scheme = node.Find("prepend_scheme");
  const std::optional<JsonNode> add_prefix_space = node.Find("add_prefix_space");
  if (scheme) {
    const std::string& name = scheme->String();
    if (name == "never") {
      metaspace.in_front = SpaceInFront::kNever;
    } else if (name == "first") {
      metaspace.in_front = SpaceInFront::kFirst;
    } else if (name != "always") {
      scheme->Refuse(name, "always, first or never");
    }
  }
  // Files from before 2024 have this one alone.
  if (add_prefix_space && !add_prefix_space->Bool()) {
    if (scheme && metaspace.in_front != SpaceInFront::kNever) {
      add_prefix_space->Fail({.what = "add_prefix_space and prepend_scheme disagree"});
    }
    metaspace.in_front = SpaceInFront::kNever;
  }
  if (const auto split = node.Find("split")) metaspace.split = split->Bool();
  return metaspace;
}

void PreTokenizer::Cut(std::string_view text, std::vector<ByteRange>& words) const {
  std::vector<ByteRange> pieces = {{.begin = 0, .end = static_cast<uint32_t>(text.size())}};
  std::vector<ByteRange> cut;
  for (const WordSplit split : splits) {
    cut.clear();
    for (const ByteRange piece : pieces) {
      const size_t first = cut.size();
      split(text.substr(piece.begin, piece.end - piece.begin), cut);
      for (size_t i = first; i < cut.size(); ++i) {
        cut[i].begin += piece.begin;
        cut[i].end += piece.begin;
      }
    }
    pieces.swap(cut);
  }
  words.insert(words.end(), pieces.begin(), pieces.end());
}

std::optional<AlignedText> PreTokenizer::MarkSpaces(AlignedView text) const {
  const bool here = in_front == SpaceInFront::kAlways ||
                    (in_front == SpaceInFront::kFirst && text.source[0].begin == 0);
  const bool prepend = here && !text.bytes.starts_with(' ') && !text.bytes.starts_with(space);
  if (space == " ") return prepend ? std::optional(Prepended(text, space)) : std::nullopt;
  AlignedText marked = Replaced(text, " ", space);
  return prepend ? Prepended(marked.View(), space) : std::move(marked);
}

PreTokenizer ReadBertPreTokenizer(const JsonNode& root) {
  constexpr std::string_view kExpected = "BertPreTokenizer for a WordPiece model";
  const auto components = FindPreTokenizers(root);
  if (!components) {
    root.Fail({.what = "there is no pre_tokenizer", .expected = std::string(kExpected)});
  }
  if (components->size() != 1 || (*components)[0].Type() != "BertPreTokenizer") {
    root.Get("pre_tokenizer").Refuse(DescribeComponents(*components), kExpected);
  }
  return {.splits = {SplitAsBert}};
}

PreTokenizer ReadBpePreTokenizer(const JsonNode& root) {
  PreTokenizer pre_tokenizer;
  const auto components = FindPreTokenizers(root);
  if (!components) return pre_tokenizer;
  if (components->size() == 1 && (*components)[0].Type() == "Metaspace") {
    const Metaspace metaspace = ReadMetaspace((*components)[0]);
    pre_tokenizer.space = metaspace.mark;
    pre_tokenizer.in_front = metaspace.in_front;
    if (metaspace.split) pre_tokenizer.splits.push_back(SplitAtMarks);
    return pre_tokenizer;
  }
  if (components->empty() || components->back().Type() != "ByteLevel")
    RefuseForBpe(root, *components);
  for (const JsonNode& component : *components) {
    if (pre_tokenizer.byte_level) RefuseForBpe(root, *components);  // two of them
    if (component.Type() == "ByteLevel") {
      AddByteLevel(component, components->size() == 1, pre_tokenizer);
    } else if (component.Type() == "Digits") {
      const bool alone = component.Get("individual_digits").Bool();
      pre_tokenizer.splits.push_back(alone ? SplitDigits : SplitNumbers);
    } else if (component.Type() == "Split") {
      pre_tokenizer.splits.push_back(ReadSplit(component));
    } else {
      RefuseForBpe(root, *components);
    }
  }
  return pre_tokenizer;
}

}  // namespace coppice
