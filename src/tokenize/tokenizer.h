// Text to token ids and back, from the tokenizer.json of a Hugging Face folder; gguf_tokenizer.h
// makes one from a GGUF file's vocabulary.
//
// Three model families are read: WordPiece (BERT), byte-level BPE (GPT-2, RoBERTa, Llama 3, Qwen2,
// SmolLM2) and SentencePiece's BPE with byte fallback (LLaMA 1 and 2, Mistral), each with the
// components that its models come with. Ids, type ids and offsets are those of the Hugging Face
// tokenizers library. A component that is not known is refused by name: a guess would change ids
// silently.
//
// The work is in two steps, because question answering needs to cut windows between them:
// Tokenize() gives the tokens of one text without special tokens; Assemble() puts one or two token
// lists into the template. Encode() does both, with truncation. A Tokenizer is immutable; all
// functions may be called concurrently.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

// One token and the bytes [begin, end) of the text it came from.
struct Token {
  int32_t id = 0;
  uint32_t begin = 0;
  uint32_t end = 0;
};

// A model's input for one example; the three lists have one entry a token.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
  // Which text a token came from: 0, 1, or -1 for a special token of the template.
  std::vector<int8_t> sequence;
};

struct TokenizerParts;  // tokenizer_parts.h

enum class SpecialTokens { kKeep, kSkip };

class Tokenizer {
 public:
  // Reads and checks a tokenizer.json. Throws Error (kBadInput) naming the file and the component.
  static Tokenizer Load(const std::filesystem::path& file);
  // The same for a text in memory; `name` stands for the file in errors.
  static Tokenizer Parse(std::string_view json, const std::string& name);

  explicit Tokenizer(TokenizerParts parts);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The tokens of `text` (UTF-8; invalid bytes are read as U+FFFD), added tokens recognised, no
  // special tokens added.
  std::vector<Token> Tokenize(std::string_view text) const;

  // Tokens that the template adds around one text, or around a pair.
  size_t NumSpecial(bool pair) const;

  // Puts one or two token lists into the post-processor's template. Never truncates.
  Encoding Assemble(std::span<const Token> first,
                    std::optional<std::span<const Token>> second) const;

  // Tokenize, truncate longest-first to `max_length` tokens in all (specials included), assemble.
  Encoding Encode(std::string_view text, std::optional<std::string_view> pair,
                  size_t max_length) const;

  // The text of some tokens. Bytes that are not UTF-8 come out as U+FFFD, and ids without a token
  // as nothing. Throws Error (kBadInput) if the file's decoder is not known, which is so for
  // encoders.
  std::string Decode(std::span<const int32_t> ids, SpecialTokens special) const;

  int32_t VocabularySize() const;  // highest id + 1, added tokens included
  std::optional<int32_t> TokenId(std::string_view token) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coppice
