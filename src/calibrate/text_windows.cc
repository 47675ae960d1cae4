#include "calibrate/text_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

std::string JoinTexts(const Dataset& dataset) {
  std::string text;
  for (const Example& example : dataset.examples) {
    if (example.is_question) {
      ThrowBadInput({.what = "not an example of a language model",
                     .where = fmt::format("{}:{}", dataset.file.string(), example.line),
                     .expected = "key text",
                     .found = "question and context"});
    }
    if (!text.empty()) text.push_back('\n');
    text += example.text;
  }
  return text;
}

// Numbers of the windows that are taken, of `available`.
std::vector<int64_t> ChooseWindows(int64_t available, const DrawOptions& options) {
  std::vector<int64_t> chosen;
  const int64_t count = options.count > 0   ? std::min(options.count, available)
                        : options.first > 0 ? std::min(options.first, available)
                                            : available;
  for (int64_t i = 0; i < count; ++i)
    chosen.push_back(options.count > 0 ? i * available / count : i);
  return chosen;
}

}  // namespace

Samples CutTextWindows(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                       const DrawOptions& options) {
  const int64_t length =
      std::min(options.max_length > 0 ? options.max_length : kTextWindow, spec.max_tokens);
  const std::vector<int32_t> stream =
      tokenizer.Encode(JoinTexts(dataset), std::nullopt, std::numeric_limits<int32_t>::max()).ids;
  const int64_t available = static_cast<int64_t>(stream.size()) / length;
  if (available == 0) {
    ThrowBadInput({.what = "the text is shorter than one window",
                   .where = dataset.file.string(),
                   .expected = fmt::format("{} tokens or more", length),
                   .found = fmt::to_string(stream.size()),
                   .hint = "give a longer text; prune also takes a smaller --length"});
  }
  Samples result;
  result.labelled = true;  // the next token
  for (const int64_t window : ChooseWindows(available, options)) {
    Sample sample;
    const auto begin = stream.begin() + window * length;
    sample.encoding.ids.assign(begin, begin + length);
    sample.encoding.type_ids.assign(static_cast<size_t>(length), 0);
    for (const int32_t id : sample.encoding.ids) {
      if (id < spec.vocabulary) continue;
      ThrowBadInput({.what = "the tokenizer gives an id that the model does not have",
                     .where = dataset.file.string(),
                     .expected = fmt::format("below {}", spec.vocabulary),
                     .found = fmt::to_string(id),
                     .hint = "the tokenizer and the weights are of different models"});
    }
    result.samples.push_back(std::move(sample));
  }
  return result;
}

}  // namespace coppice
