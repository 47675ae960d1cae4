#include "pipeline/calibration_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "calibrate/self_text.h"
#include "calibrate/text_windows.h"
#include "core/error.h"

namespace coppice {
namespace {

// As many samples of each part as its weight says, `count` together.
std::vector<int64_t> CountsOf(const std::vector<DataPart>& parts, int64_t count) {
  double sum = 0;
  for (const DataPart& part : parts) sum += part.weight;
  std::vector<int64_t> counts;
  double until = 0;
  int64_t given = 0;
  for (const DataPart& part : parts) {
    until += part.weight / sum * static_cast<double>(count);
    counts.push_back(std::max<int64_t>(1, std::llround(until) - given));
    given += counts.back();
  }
  return counts;
}

Samples DrawSelf(const Network& net, const DrawOptions& options, const Console& console) {
  if (net.spec.task != Task::kLanguageModel) {
    ThrowUsage(
        {.what = fmt::format("a model of {} cannot draw its own examples", TaskName(net.spec.task)),
         .where = "--data self",
         .hint = "give a file of examples"});
  }
  const int64_t length =
      std::min(options.max_length > 0 ? options.max_length : kTextWindow, net.spec.max_tokens);
  return DrawSelfText(net, options.count, length, options.seed, console);
}

void Append(Samples&& more, bool first, Samples* samples) {
  samples->labelled = more.labelled && (first || samples->labelled);
  std::move(more.samples.begin(), more.samples.end(), std::back_inserter(samples->samples));
  std::move(more.windows.begin(), more.windows.end(), std::back_inserter(samples->windows));
}

}  // namespace

DataPart ParseDataPart(const std::string& text) {
  const size_t at = text.rfind('=');
  std::error_code error;
  if (at == std::string::npos || std::filesystem::exists(text, error)) return {text, 1};
  const std::string number = text.substr(at + 1);
  size_t used = 0;
  double weight = 0;
  try {
    weight = std::stod(number, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != number.size() || !(weight > 0) || !std::isfinite(weight)) {
    ThrowUsage({.what = "bad weight of a data file",
                .where = "--data " + text,
                .expected = "FILE=WEIGHT with a weight above 0",
                .found = number});
  }
  return {text.substr(0, at), weight};
}

Samples DrawCalibration(const Network& net, const Tokenizer& tokenizer,
                        const std::vector<DataPart>& parts, const DrawOptions& options,
                        const Console& console) {
  Samples samples;
  const std::vector<int64_t> counts = CountsOf(parts, options.count);
  for (size_t i = 0; i < parts.size(); ++i) {
    DrawOptions draw = options;
    draw.count = counts[i];
    Append(parts[i].file == kSelf
               ? DrawSelf(net, draw, console)
               : DrawSamples(net.spec, tokenizer, ReadDataset(parts[i].file), draw,
                             /*need_labels=*/false),
           i == 0, &samples);
  }
  return samples;
}

std::string DescribeParts(const std::vector<DataPart>& parts) {
  std::string text;
  for (const DataPart& part : parts) text += (text.empty() ? "" : ", ") + part.file.string();
  return text;
}

}  // namespace coppice
