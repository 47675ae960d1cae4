// What tests of the steps share: samples without a data file.
#pragma once

#include "calibrate/samples.h"
#include "model/model_testing.h"

namespace coppice {

// The first `count` cases of a golden, with their labels.
inline Samples GoldenSamples(const nlohmann::json& golden, size_t count) {
  Samples samples;
  samples.labelled = true;
  for (size_t i = 0; i < count; ++i) {
    const nlohmann::json& one = golden["cases"][i];
    Sample sample;
    sample.encoding.ids = one["ids"].get<std::vector<int32_t>>();
    sample.encoding.type_ids = one["type_ids"].get<std::vector<int32_t>>();
    sample.label = one.value("label", one.value("target", 0.0));
    sample.start = one.value("start", int64_t{0});
    sample.end = one.value("end", int64_t{0});
    samples.samples.push_back(std::move(sample));
  }
  return samples;
}

// `count` samples of 4 to 20 random tokens, none of them padding.
inline Samples RandomSamples(const ModelSpec& spec, int64_t count, uint64_t seed) {
  Random random(seed);
  Samples samples;
  for (int64_t i = 0; i < count; ++i) {
    const auto tokens = static_cast<size_t>(4 + random.Below(17));
    Sample sample;
    sample.encoding.type_ids.assign(tokens, 0);
    for (size_t t = 0; t < tokens; ++t)
      sample.encoding.ids.push_back(static_cast<int32_t>(5 + random.Below(spec.vocabulary - 5)));
    samples.samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace coppice
