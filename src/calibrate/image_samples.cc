#include "calibrate/image_samples.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "core/random.h"

namespace coppice {

ImageTokenLimits ImageLimits(const ModelSpec& spec) {
  return {.grid = spec.image.grid, .vocabulary = spec.vocabulary, .classes = spec.image.classes};
}

Samples MakeImageSamples(const ModelSpec& spec, const ImageTokens& images,
                         const DrawOptions& options) {
  const int64_t population = images.tokens.size(0);
  const int64_t length = images.tokens.size(1);
  std::vector<int64_t> chosen(static_cast<size_t>(population));
  std::iota(chosen.begin(), chosen.end(), 0);
  Random random(options.seed);
  if (options.count > 0) {
    chosen = DrawIndices(population, options.count, options.with_replacement, &random);
  } else if (options.first > 0) {
    chosen.resize(static_cast<size_t>(std::min(options.first, population)));
  }
  const at::Tensor tokens = images.tokens.to(at::kCPU, at::kLong).contiguous();
  const at::Tensor classes = images.classes.to(at::kCPU, at::kLong).contiguous();
  Samples result;
  result.labelled = true;  // the next token
  for (const int64_t image : chosen) {
    const int64_t* row = tokens.const_data_ptr<int64_t>() + image * length;
    Sample sample;
    std::vector<int32_t>& ids = sample.encoding.ids;
    ids.push_back(static_cast<int32_t>(spec.vocabulary + classes.const_data_ptr<int64_t>()[image]));
    for (int64_t t = 0; t + 1 < length; ++t) ids.push_back(static_cast<int32_t>(row[t]));
    sample.encoding.type_ids.assign(ids.size(), 0);
    sample.next = row[length - 1];
    result.samples.push_back(std::move(sample));
  }
  return result;
}

}  // namespace coppice
