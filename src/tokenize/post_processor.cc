#include "tokenize/post_processor.h"

#include <fmt/format.h>

#include <array>

#include "tokenize/component.h"
#include "tokenize/unicode.h"
#include "tokenize/vocabulary.h"

namespace coppice {
namespace {

constexpr int32_t kMaxTypeId = 1 << 16;
constexpr char32_t kSpelledSpace = 0x120;

TemplatePiece Special(int32_t id, int32_t type_id = 0) { return {.id = id, .type_id = type_id}; }

TemplatePiece Text(int8_t sequence, int32_t type_id) {
  return {.sequence = sequence, .type_id = type_id};
}

// "cls" and "sep" are written as ["[SEP]", 102].
int32_t ReadNamedId(const JsonNode& node) {
  const std::vector<JsonNode> parts = node.Elements();
  if (parts.size() != 2) node.Fail({.what = "wrong value", .expected = "a token and its id"});
  parts[0].String();
  return parts[1].Number(kMaxTokenId);
}

PostProcessor ReadBert(const JsonNode& node) {
  const TemplatePiece cls = Special(ReadNamedId(node.Get("cls")));
  const int32_t sep = ReadNamedId(node.Get("sep"));
  return {.single = {cls, Text(0, 0), Special(sep)},
          .pair = {cls, Text(0, 0), Special(sep), Text(1, 1), Special(sep, 1)}};
}

PostProcessor ReadRoberta(const JsonNode& node) {
  const TemplatePiece cls = Special(ReadNamedId(node.Get("cls")));
  const TemplatePiece sep = Special(ReadNamedId(node.Get("sep")));
  return {.single = {cls, Text(0, 0), sep},
          .pair = {cls, Text(0, 0), sep, sep, Text(1, 0), sep},
          .trim_offsets = node.Get("trim_offsets").Bool(),
          .add_prefix_space = node.Get("add_prefix_space").Bool()};
}

PostProcessor PlainProcessor() { return MakePostProcessor(std::nullopt, std::nullopt); }

PostProcessor ReadByteLevel(const JsonNode& node) {
  PostProcessor processor = PlainProcessor();
  processor.trim_offsets = node.Get("trim_offsets").Bool();
  processor.add_prefix_space = node.Get("add_prefix_space").Bool();
  return processor;
}

// A template that uses each of the first `texts` texts once and no other.
Template ReadTemplate(const JsonNode& list, const JsonNode& special_tokens, size_t texts) {
  Template pieces;
  std::array<size_t, 2> uses = {0, 0};
  for (const JsonNode& node : list.Elements()) {
    if (const auto text = node.Find("Sequence")) {
      const JsonNode name = text->Get("id");
      if (name.String() != "A" && name.String() != "B") {
        name.Refuse(name.String(), "the sequence A or B");
      }
      const int8_t sequence = name.String() == "A" ? 0 : 1;
      ++uses[static_cast<size_t>(sequence)];
      pieces.push_back(Text(sequence, text->Get("type_id").Number(kMaxTypeId)));
      continue;
    }
    const JsonNode special = node.Get("SpecialToken");
    const int32_t type_id = special.Get("type_id").Number(kMaxTypeId);
    const JsonNode token = special_tokens.Get(special.Get("id").String());
    for (const JsonNode& id : token.Get("ids").Elements()) {
      pieces.push_back(Special(id.Number(kMaxTokenId), type_id));
    }
  }
  if (uses[0] != 1 || uses[1] != texts - 1) {
    list.Fail({.what = "bad template",
               .expected = texts == 1 ? "sequence A once, B never" : "sequences A and B once each",
               .found = fmt::format("A {} times, B {} times", uses[0], uses[1])});
  }
  return pieces;
}

PostProcessor ReadTemplates(const JsonNode& node) {
  const JsonNode special_tokens = node.Get("special_tokens");
  return {.single = ReadTemplate(node.Get("single"), special_tokens, 1),
          .pair = ReadTemplate(node.Get("pair"), special_tokens, 2)};
}

// Every post-processor that is known, but for Sequence.
struct Reader {
  std::string_view type;
  PostProcessor (*read)(const JsonNode& node);
};
constexpr std::array<Reader, 4> kReaders = {{
    {.type = "BertProcessing", .read = ReadBert},
    {.type = "ByteLevel", .read = ReadByteLevel},
    {.type = "RobertaProcessing", .read = ReadRoberta},
    {.type = "TemplateProcessing", .read = ReadTemplates},
}};

const Reader* FindReader(std::string_view type) {
  for (const Reader& reader : kReaders) {
    if (reader.type == type) return &reader;
  }
  return nullptr;
}

// As Llama 3 has it: ByteLevel, which looks after the offsets, then a template.
std::optional<PostProcessor> ReadSequence(const std::vector<JsonNode>& components) {
  if (components.size() != 2 || components[0].Type() != "ByteLevel" ||
      components[1].Type() != "TemplateProcessing") {
    return std::nullopt;
  }
  PostProcessor processor = ReadTemplates(components[1]);
  const PostProcessor offsets = ReadByteLevel(components[0]);
  processor.trim_offsets = offsets.trim_offsets;
  processor.add_prefix_space = offsets.add_prefix_space;
  return processor;
}

}  // namespace

TokenSpaces CountSpaces(std::string_view spelling) {
  const auto is_space = [](char32_t c) { return c == kSpelledSpace || IsSpace(c); };
  TokenSpaces spaces;
  for (size_t i = 0; i < spelling.size() && is_space(NextCodePoint(spelling, i));) ++spaces.leading;
  for (size_t i = spelling.size(); i > 0 && is_space(PreviousCodePoint(spelling, i));) {
    ++spaces.trailing;
  }
  return spaces;
}

PostProcessor MakePostProcessor(std::optional<int32_t> bos, std::optional<int32_t> eos) {
  PostProcessor processor;
  const auto add = [&](int8_t sequence, Template& pieces) {
    if (bos) pieces.push_back(Special(*bos, sequence));
    pieces.push_back(Text(sequence, sequence));
    if (eos) pieces.push_back(Special(*eos, sequence));
  };
  add(0, processor.single);
  add(0, processor.pair);
  add(1, processor.pair);
  return processor;
}

Encoding PostProcessor::Assemble(std::span<const Token> first,
                                 std::optional<std::span<const Token>> second) const {
  Encoding encoding;
  const Template& pieces = second ? pair : single;
  const size_t size = first.size() + (second ? second->size() : 0) + pieces.size();
  encoding.ids.reserve(size);
  encoding.type_ids.reserve(size);
  encoding.sequence.reserve(size);
  const auto add = [&](int32_t id, const TemplatePiece& piece) {
    encoding.ids.push_back(id);
    encoding.type_ids.push_back(piece.type_id);
    encoding.sequence.push_back(piece.sequence);
  };
  for (const TemplatePiece& piece : pieces) {
    if (piece.sequence < 0) {
      add(piece.id, piece);
      continue;
    }
    for (const Token& token : piece.sequence == 0 ? first : *second) add(token.id, piece);
  }
  return encoding;
}

void PostProcessor::Trim(std::string_view text, TokenSpaces spaces, bool first,
                         Token& token) const {
  if (!trim_offsets) return;
  const bool at_start = first || token.begin == 0;
  if (at_start && add_prefix_space && spaces.leading == 1) spaces.leading = 0;
  // The library counts offsets in characters, whatever the token's spelling stands for.
  size_t begin = token.begin;
  for (uint32_t i = 0; i < spaces.leading && begin < token.end; ++i) NextCodePoint(text, begin);
  size_t end = token.end;
  for (uint32_t i = 0; i < spaces.trailing; ++i) {
    if (end == 0) return void(token.begin = static_cast<uint32_t>(begin));
    PreviousCodePoint(text, end);
  }
  token.begin = static_cast<uint32_t>(begin);
  token.end = static_cast<uint32_t>(std::max(begin, end));
}

PostProcessor ReadPostProcessor(const JsonNode& root) {
  const std::optional<JsonNode> node = root.Find("post_processor");
  if (!node) return PlainProcessor();
  const bool is_list = node->Type() == "Sequence" && node->Find("processors");
  const std::vector<JsonNode> components =
      is_list ? node->Get("processors").Elements() : std::vector{*node};
  if (components.size() == 1) {
    const Reader* const reader = FindReader(components[0].Type());
    if (reader != nullptr) return reader->read(components[0]);
  }
  if (auto processor = ReadSequence(components)) return *std::move(processor);
  node->Refuse(DescribeComponents(components),
               "BertProcessing, ByteLevel, RobertaProcessing, TemplateProcessing, or ByteLevel and "
               "TemplateProcessing in sequence");
}

}  // namespace coppice
