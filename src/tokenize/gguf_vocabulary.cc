#include "tokenize/gguf_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "tokenize/bpe_tables.h"
#include "tokenize/component.h"
#include "tokenize/gguf_pre_tokenization.h"
#include "tokenize/score_merges.h"
#include "tokenize/tokenizer_parts.h"

namespace coppice {
namespace {

constexpr const char* kHint = "give a GGUF file of the same model: --vocabulary FILE";

// Turns a tokenizer.json, whose parts were read before, into a vocabulary.
class Maker {
 public:
  Maker(const JsonNode& root, const TokenizerParts& parts)
      : root_(root), parts_(parts), pre_tokenizer_(ReadBpePreTokenizer(root)) {}

  GgufVocabulary Make() {
    MakeTokens();
    if (pre_tokenizer_.byte_level) {
      MakeByteLevel();
    } else {
      MakeScored();
    }
    MakeEnds();
    return std::move(made_);
  }

 private:
  [[noreturn]] void Fail(const char* key, std::string what, std::string expected = {}) const {
    root_.Get(key).Fail({.what = "a GGUF file cannot say this: " + std::move(what),
                         .expected = std::move(expected),
                         .hint = kHint});
  }

  void MakeTokens() {
    const Vocabulary& model = parts_.model->vocabulary();
    const Vocabulary& added = parts_.added.vocabulary();
    const int32_t count = std::max(model.IdLimit(), added.IdLimit());
    for (int32_t id = 0; id < count; ++id) {
      const std::string* const own = model.Token(id);
      const std::string* const extra = added.Token(id);
      int32_t type = kUnusedToken;
      if (extra != nullptr) {
        type = parts_.added.IsSpecial(id) ? kControlToken : kUserDefinedToken;
      } else if (own != nullptr) {
        type = kNormalToken;
      }
      made_.tokens.push_back(extra != nullptr ? *extra
                             : own != nullptr ? *own
                                              : fmt::format("[PAD{}]", id));
      made_.token_types.push_back(type);
    }
  }

  // The steps of the normalizer by their types.
  std::vector<std::string> NormalizerSteps() const {
    std::vector<std::string> types;
    const std::optional<JsonNode> node = root_.Find("normalizer");
    if (!node) return types;
    for (const JsonNode& step : ReadComponents(*node, "normalizers")) types.push_back(step.Type());
    return types;
  }

  void MakeByteLevel() {
    made_.model = "gpt2";
    const std::vector<std::string> steps = NormalizerSteps();
    const bool compose = steps == std::vector<std::string>{"NFC"};
    if (!compose && !steps.empty()) Fail("normalizer", "its steps", "none, or NFC");
    if (pre_tokenizer_.in_front != SpaceInFront::kNever)
      Fail("pre_tokenizer", "add_prefix_space", "false");
    const BpeTables tables = ReadBpeTables(root_.Get("model"));
    const auto& list = PreTokenizations();
    const auto found = std::find_if(list.begin(), list.end(), [&](const PreTokenization& each) {
      return each.splits == pre_tokenizer_.splits && each.compose == compose &&
             each.ignore_merges == tables.ignore_merges;
    });
    if (found == list.end()) {
      Fail("pre_tokenizer", "this way of cutting words, normalizer and ignore_merges together",
           "that of GPT-2, Llama 3, Qwen2 or SmolLM");
    }
    made_.pre = found->name;
    for (const auto& [left, right] : Merges()) made_.merges.push_back(left + " " + right);
  }

  std::vector<std::pair<std::string, std::string>> Merges() const {
    std::vector<std::pair<std::string, std::string>> merges;
    for (const JsonNode& element : root_.Get("model").Get("merges").Elements()) {
      if (element.IsArray()) {
        const std::vector<JsonNode> parts = element.Elements();
        merges.emplace_back(parts[0].String(), parts[1].String());
      } else if (const auto pair = ReadMergePair(element.String());
                 pair && !element.String().starts_with("#version")) {
        merges.emplace_back(pair->left, pair->right);
      }
    }
    return merges;
  }

  void MakeScored() {
    made_.model = "llama";
    const BpeTables tables = ReadBpeTables(root_.Get("model"));
    if (!tables.byte_fallback) Fail("model", "byte_fallback false", "true");
    made_.add_space_prefix = ReadSpaces();
    if (tables.unknown) {
      made_.unk = tables.unknown;
      made_.token_types[static_cast<size_t>(*tables.unknown)] = kUnknownToken;
    }
    for (size_t id = 0; id < made_.tokens.size(); ++id) {
      const std::string& token = made_.tokens[id];
      if (made_.token_types[id] == kNormalToken && token.size() == 6 && token.starts_with("<0x") &&
          token.ends_with('>'))
        made_.token_types[id] = kByteToken;
    }
    MakeScores(tables.vocabulary);
  }

  // Whether a text gets a space in front; spaces must become marks.
  bool ReadSpaces() const {
    const std::vector<std::string> steps = NormalizerSteps();
    if (pre_tokenizer_.space == kSpaceMark && steps.empty())
      return pre_tokenizer_.in_front != SpaceInFront::kNever;
    const bool prefix = !steps.empty() && steps.front() == "Prepend";
    const std::vector<std::string> whole = prefix ? std::vector<std::string>{"Prepend", "Replace"}
                                                  : std::vector<std::string>{"Replace"};
    // What the steps do is what they do to this text.
    const std::string expected = fmt::format("{0}a{1}{1}b", prefix ? kSpaceMark : "", kSpaceMark);
    if (pre_tokenizer_.space != " " || steps != whole ||
        parts_.normalizer.Normalize("a  b", 0).bytes != expected) {
      root_.Fail({.what = "a GGUF file cannot say this: what becomes of spaces",
                  .expected = "each becomes U+2581, perhaps one more in front",
                  .hint = kHint});
    }
    return prefix;
  }

  // A token's score is minus the place of its first merge; what no merge forms comes last. Pairs
  // of tokens that the scores would join must be the merges, and in their order.
  void MakeScores(const Vocabulary& vocabulary) {
    constexpr float kNever = -1e9F;
    made_.scores.assign(made_.tokens.size(), kNever);
    std::vector<int32_t> formed;  // by merges, in their order
    bool ordered = true;
    for (const auto& [left, right] : Merges()) {
      const int32_t id = vocabulary.Find(left + right).value_or(0);
      float& score = made_.scores[static_cast<size_t>(id)];
      if (score == kNever) {
        score = -static_cast<float>(formed.size());
        formed.push_back(id);
      }
      ordered = ordered && formed.back() == id;
    }
    const auto may_join = [this](int32_t id) {
      const int32_t type = made_.token_types[static_cast<size_t>(id)];
      return type == kNormalToken || type == kUserDefinedToken;
    };
    if (ordered && MergesFromScores(vocabulary, made_.scores, may_join).size() == Merges().size())
      return;
    Fail("model", "merges that do not follow from scores of tokens");
  }

  void MakeEnds() {
    const Template& single = parts_.post_processor.single;
    const auto text = std::find_if(single.begin(), single.end(),
                                   [](const TemplatePiece& piece) { return piece.sequence == 0; });
    const auto before = text - single.begin(), after = single.end() - text - 1;
    if (before > 1 || after > 1)
      Fail("post_processor", "several tokens around a text", "one at most on each side");
    made_.add_bos = before == 1;
    made_.add_eos = after == 1;
    if (before == 1) made_.bos = single.front().id;
    if (after == 1) made_.eos = single.back().id;
  }

  const JsonNode& root_;
  const TokenizerParts& parts_;
  PreTokenizer pre_tokenizer_;
  GgufVocabulary made_;
};

}  // namespace

GgufVocabulary ParseGgufVocabulary(std::string_view json, const std::string& name) {
  const nlohmann::json document = ParseTokenizerJson(json, name);
  const JsonNode root(document, name, "");
  if (root.Get("model").Find("merges") == std::nullopt) {
    root.Get("model").Fail(
        {.what = "a GGUF file of a language model cannot hold this tokenizer", .expected = "BPE"});
  }
  const TokenizerParts parts = ReadTokenizerJson(root);
  return Maker(root, parts).Make();
}

GgufVocabulary ReadGgufVocabulary(const std::filesystem::path& tokenizer_json) {
  return ParseGgufVocabulary(ReadFile(tokenizer_json), tokenizer_json.string());
}

}  // namespace coppice
