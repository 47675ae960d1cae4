#include "tokenize/normalizer.h"

#include <array>

#include "core/error.h"
#include "tokenize/component.h"

namespace coppice {
namespace {

Normalizer::Step ReadBert(const JsonNode& node) { return BertNormalizer(node); }

Normalizer::Step ReadNfc(const JsonNode& /*node*/) { return CanonicalComposer(); }

Normalizer::Step ReadPrepend(const JsonNode& node) {
  return Normalizer::Prepend{.text = node.Get("prepend").String()};
}

Normalizer::Step ReadReplace(const JsonNode& node) {
  return Normalizer::Replace{.pattern = ReadPlainPattern(node.Get("pattern")),
                             .content = node.Get("content").String()};
}

// Every normalizer that is known.
struct Reader {
  std::string_view type;
  Normalizer::Step (*read)(const JsonNode& node);
};
constexpr std::array<Reader, 4> kReaders = {{
    {.type = "BertNormalizer", .read = ReadBert},
    {.type = "NFC", .read = ReadNfc},
    {.type = "Prepend", .read = ReadPrepend},
    {.type = "Replace", .read = ReadReplace},
}};

const Reader* FindReader(std::string_view type) {
  for (const Reader& reader : kReaders) {
    if (reader.type == type) return &reader;
  }
  return nullptr;
}

}  // namespace

Normalizer::Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {
  for (const Step& step : steps_) {
    Check(!std::holds_alternative<BertNormalizer>(step) || steps_.size() == 1,
          "a BertNormalizer stands alone");
  }
}

Normalizer Normalizer::Read(const JsonNode& root) {
  const std::optional<JsonNode> node = root.Find("normalizer");
  if (!node) return Normalizer();
  const std::string_view known = "BertNormalizer alone, or NFC, Prepend and Replace";
  const std::vector<JsonNode> components = ReadComponents(*node, "normalizers");
  if (components.empty()) node->Refuse("Sequence of nothing", known);
  std::vector<Step> steps;
  for (const JsonNode& component : components) {
    const Reader* const reader = FindReader(component.Type());
    const bool fits = component.Type() != "BertNormalizer" || components.size() == 1;
    if (reader == nullptr || !fits) node->Refuse(DescribeComponents(components), known);
    steps.push_back(reader->read(component));
  }
  return Normalizer(std::move(steps));
}

AlignedText Normalizer::Normalize(std::string_view text, uint32_t origin) const {
  if (steps_.size() == 1) {
    const auto* const bert = std::get_if<BertNormalizer>(&steps_[0]);
    if (bert != nullptr) return bert->Normalize(text, origin);
  }
  AlignedText normalized = Unchanged(text, origin);
  for (const Step& step : steps_) {
    if (const auto* const prepend = std::get_if<Prepend>(&step)) {
      normalized = Prepended(normalized.View(), prepend->text);
    } else if (const auto* const replace = std::get_if<Replace>(&step)) {
      normalized = Replaced(normalized.View(), replace->pattern, replace->content);
    } else {
      normalized = std::get<CanonicalComposer>(step).Compose(normalized.View());
    }
  }
  return normalized;
}

}  // namespace coppice
