#include "tokenize/tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "tokenize/added_tokens.h"
#include "tokenize/aligned_text.h"
#include "tokenize/bert_normalizer.h"
#include "tokenize/byte_bpe.h"
#include "tokenize/json_node.h"
#include "tokenize/post_processor.h"
#include "tokenize/pre_tokenizer.h"
#include "tokenize/tokenizer_model.h"
#include "tokenize/unicode.h"
#include "tokenize/wordpiece.h"

namespace coppice {
namespace {

// Every family that is known: a model, and the one pre-tokenizer that it is read with.
struct Family {
  std::string_view model;
  std::string_view pre_tokenizer;
  std::unique_ptr<TokenizerModel> (*read_model)(const JsonNode& node);
  PreTokenizer (*read_pre_tokenizer)(const JsonNode& node);
};
constexpr std::array<Family, 2> kFamilies = {{
    {.model = "WordPiece",
     .pre_tokenizer = "BertPreTokenizer",
     .read_model = ReadWordPiece,
     .read_pre_tokenizer = ReadBertPreTokenizer},
    {.model = "BPE",
     .pre_tokenizer = "ByteLevel",
     .read_model = ReadByteBpe,
     .read_pre_tokenizer = ReadByteLevelPreTokenizer},
}};

nlohmann::json ParseJson(std::string_view text, std::string_view file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    ThrowBadInput({.what = fmt::format("not JSON, from byte {}", error.byte),
                   .where = std::string(file),
                   .hint = "a tokenizer.json may be cut short or be a pointer to a larger file"});
  }
}

// A component, or the one component of a Sequence.
std::optional<JsonNode> FindComponent(const JsonNode& root, const std::string& name,
                                      const std::string& list_name) {
  std::optional<JsonNode> node = root.Find(name);
  if (!node || node->Type() != "Sequence") return node;
  const std::vector<JsonNode> list = node->Get(list_name).Elements();
  if (list.size() == 1) return list[0];
  std::string types;
  for (const JsonNode& element : list) types += (types.empty() ? "" : ", ") + element.Type();
  node->Refuse(fmt::format("Sequence of {}", list.empty() ? "nothing" : types),
               "a Sequence of one component");
}

// Files from before 2021 do not name the model's type.
std::string ModelType(const JsonNode& model) {
  if (const auto type = model.Find("type")) return type->String();
  return model.Find("merges") ? "BPE" : model.Get("type").String();
}

const Family& FindFamily(const JsonNode& model) {
  const std::string type = ModelType(model);
  for (const Family& family : kFamilies) {
    if (type == family.model) return family;
  }
  model.Refuse(type, "WordPiece or BPE");
}

std::optional<BertNormalizer> ReadNormalizer(const JsonNode& root) {
  const std::optional<JsonNode> node = FindComponent(root, "normalizer", "normalizers");
  if (!node) return std::nullopt;
  if (node->Type() != "BertNormalizer") node->Refuse(node->Type(), "BertNormalizer or null");
  return BertNormalizer(*node);
}

PreTokenizer ReadPreTokenizer(const JsonNode& root, const Family& family) {
  const std::optional<JsonNode> node = FindComponent(root, "pre_tokenizer", "pretokenizers");
  const std::string expected = fmt::format("{} for a {} model", family.pre_tokenizer, family.model);
  if (!node) root.Fail({.what = "there is no pre_tokenizer", .expected = expected});
  if (node->Type() != family.pre_tokenizer) node->Refuse(node->Type(), expected);
  return family.read_pre_tokenizer(*node);
}

// How many tokens stay of each text.
struct Lengths {
  size_t first = 0;
  size_t second = 0;
};

// Longest-first: the longer text is cut to the length of the shorter, then both; of an odd budget
// the longer keeps one more, the second where they are equal.
Lengths TruncateLongestFirst(Lengths lengths, size_t budget) {
  if (lengths.first + lengths.second <= budget) return lengths;
  const bool swapped = lengths.first > lengths.second;
  const size_t shorter = std::min({lengths.first, lengths.second, budget / 2});
  const size_t longer = budget - shorter;
  return swapped ? Lengths{.first = longer, .second = shorter}
                 : Lengths{.first = shorter, .second = longer};
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(const JsonNode& root);

  std::vector<Token> Tokenize(std::string_view text) const;
  std::optional<int32_t> TokenId(std::string_view token) const;

  // The text at work, and the tokens found so far.
  struct Run {
    std::string_view text;  // valid UTF-8
    std::vector<Token> tokens;
    std::vector<ByteRange> words;  // scratch
    std::vector<Token> pieces;     // scratch
  };
  void AddText(ByteRange range, Run& run) const;
  void AddWords(AlignedView view, Run& run) const;
  void AddToken(Token token, TokenSpaces spaces, Run& run) const;
  void AddAddedToken(int32_t id, std::string_view spelling, ByteRange source, Run& run) const;

  std::optional<BertNormalizer> normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenizerModel> model;
  std::optional<AddedTokens> added;
  PostProcessor post_processor;
  std::vector<TokenSpaces> spaces;  // of the model's tokens, when offsets are trimmed
};

Tokenizer::Impl::Impl(const JsonNode& root) {
  if (const auto version = root.Find("version"); version && version->String() != "1.0") {
    version->Refuse(version->String(), "version 1.0");
  }
  const JsonNode model_node = root.Get("model");
  const Family& family = FindFamily(model_node);
  normalizer = ReadNormalizer(root);
  pre_tokenizer = ReadPreTokenizer(root, family);
  post_processor = ReadPostProcessor(root);
  model = family.read_model(model_node);
  const Vocabulary& vocabulary = model->vocabulary();
  added.emplace(root, vocabulary, normalizer ? &*normalizer : nullptr);
  for (const Template* const pieces : {&post_processor.single, &post_processor.pair}) {
    for (const TemplatePiece& piece : *pieces) {
      if (piece.sequence >= 0 || vocabulary.HasId(piece.id)) continue;
      if (added->vocabulary().HasId(piece.id)) continue;
      root.Get("post_processor")
          .Fail({.what = fmt::format("id {} is not in the vocabulary", piece.id)});
    }
  }
  if (!post_processor.trim_offsets) return;
  spaces.resize(static_cast<size_t>(vocabulary.IdLimit()));
  for (const auto& [token, id] : vocabulary.ids()) {
    spaces[static_cast<size_t>(id)] = CountSpaces(token);
  }
}

std::optional<int32_t> Tokenizer::Impl::TokenId(std::string_view token) const {
  const std::optional<int32_t> id = added->vocabulary().Find(token);
  return id ? id : model->vocabulary().Find(token);
}

std::vector<Token> Tokenizer::Impl::Tokenize(std::string_view text) const {
  Run run = {.text = text, .tokens = {}, .words = {}, .pieces = {}};
  for (const TextPart& part : added->in_given_text().Split(text)) {
    if (part.added_token) {
      const std::string_view spelling =
          text.substr(part.range.begin, part.range.end - part.range.begin);
      AddAddedToken(*part.added_token, spelling, part.range, run);
    } else {
      AddText(part.range, run);
    }
  }
  return std::move(run.tokens);
}

// Text between the added tokens that are looked for before normalisation.
void Tokenizer::Impl::AddText(ByteRange range, Run& run) const {
  const std::string_view given = run.text.substr(range.begin, range.end - range.begin);
  const AlignedText aligned =
      normalizer ? normalizer->Normalize(given, range.begin) : Unchanged(given, range.begin);
  for (const TextPart& part : added->in_normalized_text().Split(aligned.bytes)) {
    const AlignedView view = aligned.View().Slice(part.range);
    if (part.added_token) {
      AddAddedToken(*part.added_token, view.bytes, aligned.View().Source(part.range), run);
    } else if (pre_tokenizer.add_prefix_space && view.bytes[0] != ' ') {
      AlignedText prefixed;
      prefixed.bytes = fmt::format(" {}", view.bytes);
      prefixed.source.assign(1, view.source[0]);
      prefixed.source.insert(prefixed.source.end(), view.source.begin(), view.source.end());
      AddWords(prefixed.View(), run);
    } else {
      AddWords(view, run);
    }
  }
}

void Tokenizer::Impl::AddWords(AlignedView view, Run& run) const {
  run.words.clear();
  pre_tokenizer.split(view.bytes, run.words);
  for (const ByteRange word : run.words) {
    const AlignedView word_view = view.Slice(word);
    run.pieces.clear();
    model->Tokenize(word_view.bytes, run.pieces);
    for (const Token& piece : run.pieces) {
      const ByteRange source = word_view.Source({.begin = piece.begin, .end = piece.end});
      AddToken({.id = piece.id, .begin = source.begin, .end = source.end},
               spaces.empty() ? TokenSpaces{} : spaces[static_cast<size_t>(piece.id)], run);
    }
  }
}

void Tokenizer::Impl::AddAddedToken(int32_t id, std::string_view spelling, ByteRange source,
                                    Run& run) const {
  AddToken({.id = id, .begin = source.begin, .end = source.end}, CountSpaces(spelling), run);
}

void Tokenizer::Impl::AddToken(Token token, TokenSpaces token_spaces, Run& run) const {
  post_processor.Trim(run.text, token_spaces, run.tokens.empty(), token);
  run.tokens.push_back(token);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::Load(const std::filesystem::path& file) {
  return Parse(ReadFile(file), file.string());
}

Tokenizer Tokenizer::Parse(std::string_view json, const std::string& name) {
  const nlohmann::json document = ParseJson(json, name);
  return Tokenizer(std::make_unique<Impl>(JsonNode(document, name, "")));
}

std::vector<Token> Tokenizer::Tokenize(std::string_view text) const {
  // One byte can become three when it is repaired.
  if (text.size() > std::numeric_limits<uint32_t>::max() / 4) {
    ThrowBadInput({.what = "text too long to tokenize at once",
                   .expected = "at most 1 GiB",
                   .found = fmt::format("{} bytes", text.size())});
  }
  if (IsValidUtf8(text)) return impl_->Tokenize(text);
  const RepairedText repaired = RepairUtf8(text);
  std::vector<Token> tokens = impl_->Tokenize(repaired.bytes);
  for (Token& token : tokens) {
    token.begin = repaired.origin[token.begin];
    token.end = repaired.origin[token.end];
  }
  return tokens;
}

size_t Tokenizer::NumSpecial(bool pair) const {
  const Template& pieces = pair ? impl_->post_processor.pair : impl_->post_processor.single;
  return pieces.size() - (pair ? 2 : 1);
}

Encoding Tokenizer::Assemble(std::span<const Token> first,
                             std::optional<std::span<const Token>> second) const {
  return impl_->post_processor.Assemble(first, second);
}

Encoding Tokenizer::Encode(std::string_view text, std::optional<std::string_view> pair,
                           size_t max_length) const {
  const size_t special = NumSpecial(pair.has_value());
  if (max_length < special) {
    ThrowUsage({.what = "length limit is too small for the special tokens",
                .expected = fmt::format("at least {}", special),
                .found = std::to_string(max_length)});
  }
  const size_t budget = max_length - special;
  const std::vector<Token> first = Tokenize(text);
  const std::span<const Token> first_view = first;
  if (!pair) return Assemble(first_view.first(std::min(first.size(), budget)), std::nullopt);
  const std::vector<Token> second = Tokenize(*pair);
  const Lengths kept =
      TruncateLongestFirst({.first = first.size(), .second = second.size()}, budget);
  return Assemble(first_view.first(kept.first), std::span(second).first(kept.second));
}

int32_t Tokenizer::VocabularySize() const {
  return std::max(impl_->model->vocabulary().IdLimit(), impl_->added->vocabulary().IdLimit());
}

std::optional<int32_t> Tokenizer::TokenId(std::string_view token) const {
  return impl_->TokenId(token);
}

}  // namespace coppice
