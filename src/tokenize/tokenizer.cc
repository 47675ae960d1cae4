#include "tokenize/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "tokenize/aligned_text.h"
#include "tokenize/tokenizer_parts.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

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
  explicit Impl(TokenizerParts parts);

  std::vector<Token> Tokenize(std::string_view text) const;
  // The spelling of an id, if it has one.
  const std::string* Spelling(int32_t id) const;

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

  TokenizerParts parts;
  std::vector<TokenSpaces> spaces;  // of the model's tokens, when offsets are trimmed
};

Tokenizer::Impl::Impl(TokenizerParts given) : parts(std::move(given)) {
  if (!parts.post_processor.trim_offsets) return;
  const Vocabulary& vocabulary = parts.model->vocabulary();
  spaces.resize(static_cast<size_t>(vocabulary.IdLimit()));
  for (const auto& [token, id] : vocabulary.ids()) {
    spaces[static_cast<size_t>(id)] = CountSpaces(token);
  }
}

const std::string* Tokenizer::Impl::Spelling(int32_t id) const {
  const std::string* const added = parts.added.vocabulary().Token(id);
  return added != nullptr ? added : parts.model->vocabulary().Token(id);
}

std::vector<Token> Tokenizer::Impl::Tokenize(std::string_view text) const {
  Run run = {.text = text, .tokens = {}, .words = {}, .pieces = {}};
  for (const TextPart& part : parts.added.in_given_text().Split(text)) {
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
  const AlignedText aligned = parts.normalizer.Normalize(given, range.begin);
  for (const TextPart& part : parts.added.in_normalized_text().Split(aligned.bytes)) {
    const AlignedView view = aligned.View().Slice(part.range);
    if (part.added_token) {
      AddAddedToken(*part.added_token, view.bytes, aligned.View().Source(part.range), run);
    } else if (const auto marked = parts.pre_tokenizer.MarkSpaces(view)) {
      AddWords(marked->View(), run);
    } else {
      AddWords(view, run);
    }
  }
}

void Tokenizer::Impl::AddWords(AlignedView view, Run& run) const {
  run.words.clear();
  parts.pre_tokenizer.Cut(view.bytes, run.words);
  for (const ByteRange word : run.words) {
    const AlignedView word_view = view.Slice(word);
    run.pieces.clear();
    parts.model->Tokenize(word_view.bytes, run.pieces);
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
  parts.post_processor.Trim(run.text, token_spaces, run.tokens.empty(), token);
  run.tokens.push_back(token);
}

Tokenizer::Tokenizer(TokenizerParts parts) : impl_(std::make_unique<Impl>(std::move(parts))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::Load(const std::filesystem::path& file) {
  return Parse(ReadFile(file), file.string());
}

Tokenizer Tokenizer::Parse(std::string_view json, const std::string& name) {
  const nlohmann::json document = ParseTokenizerJson(json, name);
  return Tokenizer(ReadTokenizerJson(JsonNode(document, name, "")));
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
  const Template& pieces =
      pair ? impl_->parts.post_processor.pair : impl_->parts.post_processor.single;
  return pieces.size() - (pair ? 2 : 1);
}

Encoding Tokenizer::Assemble(std::span<const Token> first,
                             std::optional<std::span<const Token>> second) const {
  return impl_->parts.post_processor.Assemble(first, second);
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

std::string Tokenizer::Decode(std::span<const int32_t> ids, SpecialTokens special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const bool skip = special == SpecialTokens::kSkip && impl_->parts.added.IsSpecial(id);
    const std::string* const spelling = skip ? nullptr : impl_->Spelling(id);
    if (spelling != nullptr) tokens.push_back(*spelling);
  }
  return impl_->parts.decoder.Decode(std::move(tokens));
}

int32_t Tokenizer::VocabularySize() const {
  const TokenizerParts& parts = impl_->parts;
  return std::max(parts.model->vocabulary().IdLimit(), parts.added.vocabulary().IdLimit());
}

std::optional<int32_t> Tokenizer::TokenId(std::string_view token) const {
  const std::optional<int32_t> id = impl_->parts.added.vocabulary().Find(token);
  return id ? id : impl_->parts.model->vocabulary().Find(token);
}

}  // namespace coppice
