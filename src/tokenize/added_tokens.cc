#include "tokenize/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "tokenize/unicode.h"

namespace coppice {
namespace {

bool TouchesWord(std::string_view text, ByteRange match) {
  size_t before = match.begin;
  if (before > 0 && IsWordCharacter(PreviousCodePoint(text, before))) return true;
  size_t after = match.end;
  return after < text.size() && IsWordCharacter(NextCodePoint(text, after));
}

uint32_t SkipSpaceBefore(std::string_view text, size_t end) {
  for (size_t i = end; i > 0 && IsSpace(PreviousCodePoint(text, i));) end = i;
  return static_cast<uint32_t>(end);
}

uint32_t SkipSpaceAfter(std::string_view text, size_t begin) {
  for (size_t i = begin; i < text.size() && IsSpace(NextCodePoint(text, i));) begin = i;
  return static_cast<uint32_t>(begin);
}

// Holds a token against those before it, `added`, and adds it to them.
void AddId(const JsonNode& node, const AddedToken& token, const Vocabulary& model,
           Vocabulary& added) {
  const auto model_count = static_cast<int32_t>(model.count());
  const int32_t next = std::max(added.IdLimit(), model_count);
  const std::optional<int32_t> own = model.Find(token.text);
  const int32_t expected = own.value_or(next);
  if (token.id != expected) {
    node.Fail(
        {.what = fmt::format("wrong id of added token \"{}\"", Printable(token.text)),
         .expected = fmt::format("{} ({})", expected,
                                 own ? "its id in the model's vocabulary" : "the next free id"),
         .found = std::to_string(token.id)});
  }
  if ((!own && model.HasId(token.id)) || !added.Add(token.text, token.id)) {
    node.Fail({.what = fmt::format("added token \"{}\" or its id {} exists already",
                                   Printable(token.text), token.id)});
  }
}

uint8_t FirstByte(const AddedTokenFinder::Pattern& pattern) {
  return static_cast<uint8_t>(pattern.text[0]);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {
  std::stable_sort(patterns_.begin(), patterns_.end(), [](const Pattern& a, const Pattern& b) {
    return FirstByte(a) != FirstByte(b) ? FirstByte(a) < FirstByte(b)
                                        : a.text.size() > b.text.size();
  });
  for (uint32_t i = 0; i < patterns_.size(); ++i) {
    ByteRange& range = by_first_[FirstByte(patterns_[i])];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
  }
}

std::vector<TextPart> AddedTokenFinder::Split(std::string_view text) const {
  std::vector<TextPart> parts;
  uint32_t done = 0;
  const auto add = [&](ByteRange range, std::optional<int32_t> token) {
    if (range.begin < range.end) parts.push_back({.range = range, .added_token = token});
  };
  for (size_t i = 0; !patterns_.empty() && i < text.size();) {
    const Pattern* const pattern = LongestAt(text, i);
    if (pattern == nullptr) {
      ++i;
      continue;
    }
    ByteRange match = {.begin = static_cast<uint32_t>(i),
                       .end = static_cast<uint32_t>(i + pattern->text.size())};
    i = match.end;
    if (pattern->single_word && TouchesWord(text, match)) continue;
    // White space that an earlier match took is not taken again.
    if (pattern->lstrip) match.begin = std::max(SkipSpaceBefore(text, match.begin), done);
    if (pattern->rstrip) match.end = SkipSpaceAfter(text, match.end);
    add({.begin = done, .end = match.begin}, std::nullopt);
    add(match, pattern->id);
    done = match.end;
  }
  add({.begin = done, .end = static_cast<uint32_t>(text.size())}, std::nullopt);
  return parts;
}

const AddedTokenFinder::Pattern* AddedTokenFinder::LongestAt(std::string_view text,
                                                             size_t position) const {
  const ByteRange range = by_first_[static_cast<uint8_t>(text[position])];
  for (uint32_t i = range.begin; i < range.end; ++i) {
    if (text.substr(position).starts_with(patterns_[i].text)) return &patterns_[i];
  }
  return nullptr;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer) {
  using Pattern = AddedTokenFinder::Pattern;
  // Special tokens come first where two normalise to the same text.
  std::vector<Pattern> given;
  std::vector<Pattern> normalized;
  std::vector<Pattern> normalized_plain;
  for (const AddedToken& token : tokens) {
    Pattern pattern = {.text = token.text,
                       .id = token.id,
                       .single_word = token.single_word,
                       .lstrip = token.lstrip,
                       .rstrip = token.rstrip};
    Check(vocabulary_.Add(token.text, token.id), "two added tokens share a text or an id");
    if (token.special) special_.insert(token.id);
    if (!token.normalized) {
      given.push_back(std::move(pattern));
      continue;
    }
    pattern.text = normalizer.Normalize(token.text, 0).bytes;
    Check(!pattern.text.empty(), "an added token normalises to nothing");
    (token.special ? normalized : normalized_plain).push_back(std::move(pattern));
  }
  std::move(normalized_plain.begin(), normalized_plain.end(), std::back_inserter(normalized));
  in_given_text_ = AddedTokenFinder(std::move(given));
  in_normalized_text_ = AddedTokenFinder(std::move(normalized));
}

AddedTokens AddedTokens::Read(const JsonNode& root, const Vocabulary& model,
                              const Normalizer& normalizer) {
  const std::optional<JsonNode> list = root.Find("added_tokens");
  std::vector<AddedToken> tokens;
  if (!list) return AddedTokens(tokens, normalizer);
  Vocabulary ids;
  for (const JsonNode& node : list->Elements()) {
    AddedToken token = {.text = node.Get("content").String(),
                        .id = node.Get("id").Number(kMaxTokenId),
                        .single_word = node.Get("single_word").Bool(),
                        .lstrip = node.Get("lstrip").Bool(),
                        .rstrip = node.Get("rstrip").Bool(),
                        .normalized = node.Get("normalized").Bool(),
                        .special = node.Get("special").Bool()};
    if (token.text.empty()) continue;  // the library passes over it
    AddId(node, token, model, ids);
    if (token.normalized && normalizer.Normalize(token.text, 0).bytes.empty()) {
      node.Fail({.what = "nothing is left of the token when normalised"});
    }
    tokens.push_back(std::move(token));
  }
  return AddedTokens(tokens, normalizer);
}

}  // namespace coppice
