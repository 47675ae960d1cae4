#include "tokenize/decoder.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "core/error.h"
#include "tokenize/byte_bpe.h"
#include "tokenize/component.h"
#include "tokenize/pre_tokenizer.h"
#include "tokenize/unicode.h"

namespace coppice {
namespace {

using Tokens = std::vector<std::string>;

std::string Concatenate(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

void Replace(const std::string& pattern, std::string_view content, std::string& text) {
  std::string replaced;
  size_t done = 0;
  for (size_t at = text.find(pattern); at != std::string::npos; at = text.find(pattern, done)) {
    replaced.append(text, done, at - done).append(content);
    done = at + pattern.size();
  }
  if (done > 0) text = replaced.append(text, done);
}

// The byte of "<0x41>"; nothing for any other token.
std::optional<char> FallbackByte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

void Apply(const Decoder::ByteLevel& /*step*/, Tokens& tokens) {
  const ByteSpelling spelling;
  std::string bytes;
  for (const std::string& token : tokens) bytes += spelling.Bytes(token).value_or(token);
  tokens = {IsValidUtf8(bytes) ? std::move(bytes) : RepairUtf8(bytes).bytes};
}

void Apply(const Decoder::ByteFallback& /*step*/, Tokens& tokens) {
  Tokens decoded;
  decoded.reserve(tokens.size());
  std::string bytes;
  const auto flush = [&] {
    if (IsValidUtf8(bytes)) {
      if (!bytes.empty()) decoded.push_back(bytes);
    } else {
      decoded.insert(decoded.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<char> byte = FallbackByte(token)) {
      bytes.push_back(*byte);
      continue;
    }
    flush();
    decoded.push_back(std::move(token));
  }
  flush();
  tokens = std::move(decoded);
}

void Apply(const Decoder::Fuse& /*step*/, Tokens& tokens) { tokens = {Concatenate(tokens)}; }

void Apply(const Decoder::Replace& step, Tokens& tokens) {
  for (std::string& token : tokens) Replace(step.pattern, step.content, token);
}

void Apply(const Decoder::Strip& step, Tokens& tokens) {
  for (std::string& token : tokens) {
    std::string_view kept = token;
    for (size_t i = 0; i < step.start && kept.starts_with(step.content); ++i) {
      kept.remove_prefix(step.content.size());
    }
    for (size_t i = 0; i < step.stop && kept.ends_with(step.content); ++i) {
      kept.remove_suffix(step.content.size());
    }
    token = std::string(kept);
  }
}

void Apply(const Decoder::Metaspace& step, Tokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    Replace(step.mark, i == 0 && step.drop_first ? "" : " ", tokens[i]);
  }
}

void Apply(const Decoder::Unknown& step, Tokens& /*tokens*/) {
  ThrowBadInput({.what = fmt::format("\"{}\" is not supported", Printable(step.type)),
                 .where = "decoder",
                 .expected = "ByteLevel, Metaspace, or ByteFallback, Fuse, Replace and Strip"});
}

Decoder::Step ReadStrip(const JsonNode& node) {
  const auto number = [&node](const char* key) {
    return static_cast<size_t>(node.Get(key).Number(std::numeric_limits<int32_t>::max()));
  };
  const JsonNode content = node.Get("content");
  if (content.String().empty()) content.Fail({.what = "there is nothing to strip"});
  return Decoder::Strip{
      .content = content.String(), .start = number("start"), .stop = number("stop")};
}

Decoder::Step ReadStep(const JsonNode& node) {
  const std::string& type = node.Type();
  if (type == "ByteLevel") return Decoder::ByteLevel{};
  if (type == "ByteFallback") return Decoder::ByteFallback{};
  if (type == "Fuse") return Decoder::Fuse{};
  if (type == "Strip") return ReadStrip(node);
  if (type == "Replace" && node.Get("pattern").Find("String")) {
    return Decoder::Replace{.pattern = ReadPlainPattern(node.Get("pattern")),
                            .content = node.Get("content").String()};
  }
  if (type == "Metaspace") {
    Metaspace metaspace = ReadMetaspace(node);
    return Decoder::Metaspace{.mark = std::move(metaspace.mark),
                              .drop_first = metaspace.in_front != SpaceInFront::kNever};
  }
  return Decoder::Unknown{.type = type};
}

}  // namespace

Decoder Decoder::Read(const JsonNode& root) {
  const std::optional<JsonNode> node = root.Find("decoder");
  if (!node) return Decoder();
  std::vector<Step> steps;
  for (const JsonNode& component : ReadComponents(*node, "decoders")) {
    steps.push_back(ReadStep(component));
  }
  if (steps.empty()) steps.emplace_back(Fuse{});  // no spaces between the tokens
  return Decoder(std::move(steps));
}

std::string Decoder::Decode(std::vector<std::string> tokens) const {
  if (steps_.empty()) {
    return fmt::format("{}", fmt::join(tokens, " "));
  }
  for (const Step& step : steps_) {
    std::visit([&tokens](const auto& each) { Apply(each, tokens); }, step);
  }
  return Concatenate(tokens);
}

}  // namespace coppice
