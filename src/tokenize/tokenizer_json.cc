// Which components of a tokenizer.json go together: here is the list of model families.
#include <fmt/format.h>

#include "core/error.h"
#include "tokenize/byte_bpe.h"
#include "tokenize/sentence_bpe.h"
#include "tokenize/tokenizer_parts.h"
#include "tokenize/wordpiece.h"

namespace coppice {
namespace {

// A model and the way to it.
struct Front {
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenizerModel> model;
};

Front ReadWordPieceFront(const JsonNode& root) {
  return {.pre_tokenizer = ReadBertPreTokenizer(root), .model = ReadWordPiece(root.Get("model"))};
}

// The pre-tokenizer says what a BPE model's symbols are: bytes or characters.
Front ReadBpeFront(const JsonNode& root) {
  const JsonNode model = root.Get("model");
  PreTokenizer pre_tokenizer = ReadBpePreTokenizer(root);
  BpeTables tables = ReadBpeTables(model);
  if (pre_tokenizer.byte_level && tables.byte_fallback) {
    model.Get("byte_fallback").Refuse("byte_fallback", "false where all symbols are bytes");
  }
  if (!pre_tokenizer.byte_level && tables.ignore_merges) {
    model.Get("ignore_merges").Refuse("ignore_merges", "false where symbols are characters");
  }
  auto make = pre_tokenizer.byte_level ? MakeByteBpe : MakeSentenceBpe;
  return {.pre_tokenizer = std::move(pre_tokenizer), .model = make(std::move(tables))};
}

Front ReadFront(const JsonNode& root) {
  const JsonNode model = root.Get("model");
  // Files from before 2021 do not name the model's type.
  const std::optional<JsonNode> type = model.Find("type");
  const bool old_bpe = !type && model.Find("merges");
  const std::string name = old_bpe ? "BPE" : model.Get("type").String();
  if (name == "WordPiece") return ReadWordPieceFront(root);
  if (name == "BPE") return ReadBpeFront(root);
  model.Refuse(name, "WordPiece or BPE");
}

void RequireKnownIds(const JsonNode& root, const TokenizerParts& parts) {
  for (const Template* const pieces : {&parts.post_processor.single, &parts.post_processor.pair}) {
    for (const TemplatePiece& piece : *pieces) {
      if (piece.sequence >= 0 || parts.model->vocabulary().HasId(piece.id)) continue;
      if (parts.added.vocabulary().HasId(piece.id)) continue;
      root.Get("post_processor")
          .Fail({.what = fmt::format("id {} is not in the vocabulary", piece.id)});
    }
  }
}

}  // namespace

nlohmann::json ParseTokenizerJson(std::string_view text, std::string_view file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    ThrowBadInput({.what = fmt::format("not JSON, from byte {}", error.byte),
                   .where = std::string(file),
                   .hint = "a tokenizer.json may be cut short or be a pointer to a larger file"});
  }
}

TokenizerParts ReadTokenizerJson(const JsonNode& root) {
  if (const auto version = root.Find("version"); version && version->String() != "1.0") {
    version->Refuse(version->String(), "version 1.0");
  }
  Front front = ReadFront(root);
  TokenizerParts parts = {.normalizer = Normalizer::Read(root),
                          .pre_tokenizer = std::move(front.pre_tokenizer),
                          .model = std::move(front.model),
                          .added = {},
                          .post_processor = ReadPostProcessor(root),
                          .decoder = Decoder::Read(root)};
  parts.added = AddedTokens::Read(root, parts.model->vocabulary(), parts.normalizer);
  RequireKnownIds(root, parts);
  return parts;
}

}  // namespace coppice
