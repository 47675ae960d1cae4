#include "calibrate/samples.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "calibrate/text_windows.h"
#include "core/error.h"
#include "core/random.h"

namespace coppice {
namespace {

std::string Where(const Dataset& dataset, const Example& example) {
  return fmt::format("{}:{}", dataset.file.string(), example.line);
}

std::string Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

bool IsPlainText(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".txt") || name.ends_with(".txt.gz");
}

// A text file is one example; an encoder wants sentences or paragraphs.
Dataset SplitParagraphs(const Dataset& dataset) {
  Dataset split{dataset.file, {}};
  const std::string& text = dataset.examples[0].text;
  int64_t line = 1;
  int64_t first_line = 1;
  std::string paragraph;
  const auto flush = [&] {
    Example example;
    example.text = Trimmed(paragraph);
    example.line = first_line;
    if (!example.text.empty()) split.examples.push_back(std::move(example));
    paragraph.clear();
  };
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = std::string_view(text).substr(begin, end - begin);
    if (Trimmed(row).empty()) {
      flush();
    } else {
      if (paragraph.empty()) first_line = line;
      paragraph.append(row).push_back('\n');
    }
    begin = end + 1;
  }
  flush();
  return split;
}

void CheckLabel(const ModelSpec& spec, const Dataset& dataset, const Example& example) {
  if (spec.task != Task::kClassification || !example.label) return;
  const double label = *example.label;
  if (label != std::floor(label) || label < 0 || label >= static_cast<double>(spec.labels)) {
    ThrowBadInput({.what = "label out of range",
                   .where = Where(dataset, example),
                   .expected = fmt::format("an integer from 0 to {}", spec.labels - 1),
                   .found = fmt::format("{}", label)});
  }
}

void CheckExample(const ModelSpec& spec, const Dataset& dataset, const Example& example,
                  bool need_labels) {
  const bool question = spec.task == Task::kQuestionAnswering;
  if (question != example.is_question) {
    ThrowBadInput({.what = fmt::format("not an example of {}", TaskName(spec.task)),
                   .where = Where(dataset, example),
                   .expected = question ? "keys question, context, answers" : "key text",
                   .found = example.is_question ? "question and context" : "text"});
  }
  CheckLabel(spec, dataset, example);
  const bool scored = spec.task == Task::kClassification || spec.task == Task::kRegression;
  if (need_labels && scored && !example.label) {
    ThrowBadInput({.what = "no label",
                   .where = Where(dataset, example),
                   .expected = "\"label\", since the metric needs it"});
  }
}

void CheckIds(const ModelSpec& spec, const Encoding& encoding, const std::string& where) {
  for (const int32_t type : encoding.type_ids) {
    if (spec.token_types > 0 && type >= spec.token_types) {
      ThrowBadInput({.what = "the tokenizer gives a token type that the model does not have",
                     .where = where,
                     .expected = fmt::format("below {}", spec.token_types),
                     .found = fmt::to_string(type),
                     .hint = "tokenizer.json and config.json's \"type_vocab_size\" disagree"});
    }
  }
  for (const int32_t id : encoding.ids) {
    if (id >= spec.vocabulary) {
      ThrowBadInput({.what = "the tokenizer gives an id that the model does not have",
                     .where = where,
                     .expected = fmt::format("below {}", spec.vocabulary),
                     .found = fmt::to_string(id),
                     .hint = "tokenizer.json and the weights are of different models"});
    }
  }
}

Samples DrawWindows(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                    const DrawOptions& options, size_t max_length) {
  std::vector<SquadWindow> windows =
      MakeSquadWindows(tokenizer, dataset, std::min(max_length, kSquadLength));
  Samples result;
  result.labelled = true;
  const auto population = static_cast<int64_t>(windows.size());
  Random random(options.seed);
  std::vector<int64_t> chosen(windows.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  if (options.count > 0)
    chosen = DrawIndices(population, options.count, options.with_replacement, &random);
  for (const int64_t index : chosen) {
    const SquadWindow& window = windows[static_cast<size_t>(index)];
    const Example& example = dataset.examples[static_cast<size_t>(window.example)];
    CheckIds(spec, window.encoding, Where(dataset, example));
    result.samples.push_back({window.encoding, 0, window.start, window.end,
                              std::hash<std::string>()(example.text_pair.value_or(""))});
    result.windows.push_back(window);
  }
  return result;
}

}  // namespace

int64_t Samples::tokens() const {
  int64_t sum = 0;
  for (const Sample& sample : samples) sum += sample.tokens();
  return sum;
}

double Samples::mean_tokens() const {
  return samples.empty() ? 0 : static_cast<double>(tokens()) / static_cast<double>(samples.size());
}

Samples DrawSamples(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                    const DrawOptions& options, bool need_labels) {
  if (spec.task == Task::kLanguageModel) return CutTextWindows(spec, tokenizer, dataset, options);
  const bool plain = IsPlainText(dataset.file);
  const Dataset split = plain ? SplitParagraphs(dataset) : Dataset{};
  const Dataset& source = plain ? split : dataset;
  for (const Example& example : source.examples) CheckExample(spec, source, example, need_labels);
  if (source.examples.empty())
    ThrowBadInput({.what = "no examples", .where = dataset.file.string()});
  const auto max_length = static_cast<size_t>(
      options.max_length > 0 ? std::min(options.max_length, spec.max_tokens) : spec.max_tokens);
  if (spec.task == Task::kQuestionAnswering)
    return DrawWindows(spec, tokenizer, source, options, max_length);
  Samples result;
  result.labelled = true;
  Random random(options.seed);
  std::vector<int64_t> chosen(source.examples.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  if (options.count > 0) {
    chosen = DrawIndices(static_cast<int64_t>(source.examples.size()), options.count,
                         options.with_replacement, &random);
  }
  for (const int64_t index : chosen) {
    const Example& example = source.examples[static_cast<size_t>(index)];
    Sample sample;
    sample.encoding = tokenizer.Encode(example.text, example.text_pair, max_length);
    CheckIds(spec, sample.encoding, Where(source, example));
    sample.label = example.label.value_or(0);
    result.labelled = result.labelled && example.label.has_value();
    result.samples.push_back(std::move(sample));
  }
  return result;
}

namespace {

// Moves the samples whose number take() says out of `samples`.
template <typename Predicate>
Samples TakeWhere(const Predicate& take, Samples* samples) {
  Samples taken, rest;
  taken.labelled = rest.labelled = samples->labelled;
  for (size_t i = 0; i < samples->samples.size(); ++i) {
    Samples& into = take(i) ? taken : rest;
    into.samples.push_back(std::move(samples->samples[i]));
    if (!samples->windows.empty()) into.windows.push_back(std::move(samples->windows[i]));
  }
  *samples = std::move(rest);
  return taken;
}

}  // namespace

Samples TakeEvery(int64_t every, Samples* samples) {
  return TakeWhere([&](size_t i) { return static_cast<int64_t>(i + 1) % every == 0; }, samples);
}

Samples HoldOut(int64_t every, Samples* samples) {
  if (samples->windows.empty()) return TakeEvery(every, samples);
  std::map<uint64_t, int64_t> place;  // of each context in the order in which they come
  std::vector<bool> taken;
  for (const Sample& sample : samples->samples) {
    const auto next = static_cast<int64_t>(place.size());
    taken.push_back((place.try_emplace(sample.context, next).first->second + 1) % every == 0);
  }
  return TakeWhere([&](size_t i) { return taken[i]; }, samples);
}

int64_t UsualBatchTokens(at::Device device) { return device.is_cuda() ? 16384 : 512; }

int64_t PackedTokens(const Network& net) {
  constexpr int64_t kNumbers = int64_t{1} << 27, kMost = 65536;
  int64_t widest = 1;
  for (const SubLayer& sub : net.sub_layers)
    widest = std::max(widest, sub.units * sub.width * (sub.gated ? 2 : 1));
  return std::min(kNumbers / widest, kMost);
}

std::vector<Batch> MakeBatches(const Samples& samples, const ModelSpec& spec, int64_t max_tokens,
                               at::Device device) {
  std::vector<int64_t> order(samples.samples.size());
  std::iota(order.begin(), order.end(), 0);
  const auto tokens = [&](int64_t i) { return samples.samples[static_cast<size_t>(i)].tokens(); };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return tokens(a) < tokens(b); });
  std::vector<Batch> batches;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() &&
           static_cast<int64_t>(end + 1 - begin) * tokens(order[end]) <= max_tokens)
      ++end;
    Batch batch;
    const auto rows = static_cast<int64_t>(end - begin);
    const int64_t length = std::max<int64_t>(1, tokens(order[end - 1]));
    batch.ids = at::full({rows, length}, spec.pad_id, at::kLong);
    batch.type_ids = at::zeros({rows, length}, at::kLong);
    batch.mask = at::zeros({rows, length}, at::kBool);
    std::vector<int64_t> next, real;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t index = order[begin + static_cast<size_t>(row)];
      const Encoding& encoding = samples.samples[static_cast<size_t>(index)].encoding;
      batch.samples.push_back(index);
      next.push_back(samples.samples[static_cast<size_t>(index)].next);
      batch.padded = batch.padded || tokens(index) < length;
      const int64_t start = row * length;
      std::copy_n(encoding.ids.begin(), tokens(index),
                  batch.ids.mutable_data_ptr<int64_t>() + start);
      std::copy_n(encoding.type_ids.begin(), tokens(index),
                  batch.type_ids.mutable_data_ptr<int64_t>() + start);
      std::fill_n(batch.mask.mutable_data_ptr<bool>() + start, tokens(index), true);
      for (int64_t t = 0; t < tokens(index); ++t) real.push_back(start + t);
    }
    // A copy that returns when it has read its source keeps the device's queue going.
    const auto there = [&](const at::Tensor& x) { return x.to(device, /*non_blocking=*/true); };
    batch.real = there(at::tensor(real, at::kLong));
    batch.ids = there(batch.ids);
    batch.type_ids = there(batch.type_ids);
    batch.mask = there(batch.mask);
    if (std::any_of(next.begin(), next.end(), [](int64_t id) { return id != kNoToken; }))
      batch.next = there(at::tensor(next, at::kLong));
    batches.push_back(std::move(batch));
    begin = end;
  }
  return batches;
}

}  // namespace coppice
