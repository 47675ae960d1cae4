#include "pipeline/image_data.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "calibrate/image_samples.h"
#include "core/error.h"
#include "core/random.h"

namespace coppice {
namespace {

void CheckSampling(const ImageSampling& sampling) {
  const bool good = std::isfinite(sampling.guidance) && sampling.temperature > 0 &&
                    std::isfinite(sampling.temperature) && sampling.top_k >= 0;
  if (good) return;
  ThrowUsage({.what = "images cannot be drawn so",
              .expected = "a finite --guidance, --temperature above 0, --top-k 0 or more",
              .found = fmt::format("{}, {}, {}", sampling.guidance, sampling.temperature,
                                   sampling.top_k)});
}

void CheckClasses(const std::vector<int64_t>& classes, const ModelSpec& spec) {
  for (const int64_t one : classes) {
    if (one >= 0 && one < spec.image.classes) continue;
    ThrowBadInput({.what = "class out of range",
                   .expected = fmt::format("0 to {}", spec.image.classes - 1),
                   .found = fmt::to_string(one)});
  }
}

// Images whose keys and values fit the memory that is set aside for them.
int64_t ImagesAtOnce(const Network& net, bool guided) {
  constexpr int64_t kCpuBytes = int64_t{1} << 28, kGpuBytes = int64_t{1} << 34;
  int64_t numbers = 1;  // kept of one position
  for (const SubLayer& sub : net.sub_layers)
    if (sub.kind == UnitKind::kHead) numbers += 2 * sub.units * sub.width / sub.queries;
  const int64_t bytes = numbers * net.spec.max_tokens * (guided ? 2 : 1) *
                        static_cast<int64_t>(c10::elementSize(net.compute.dtype));
  return std::max<int64_t>(1, (net.compute.device.is_cuda() ? kGpuBytes : kCpuBytes) / bytes);
}

// (N, T) float64, of images begin .. end - 1.
at::Tensor Uniforms(const DrawImagesOptions& options, int64_t begin, int64_t end, int64_t tokens) {
  at::Tensor uniforms = at::empty({end - begin, tokens}, at::kDouble);
  double* numbers = uniforms.data_ptr<double>();
  for (int64_t i = begin; i < end; ++i) {
    const int64_t one = options.classes[static_cast<size_t>(i / options.per_class)];
    const int64_t image = i % options.per_class;
    Random random(options.seed, (static_cast<uint64_t>(one) << 32) + static_cast<uint64_t>(image));
    for (int64_t t = 0; t < tokens; ++t) *numbers++ = random.Uniform();
  }
  return uniforms;
}

}  // namespace

std::vector<int64_t> AllClasses(const ModelSpec& spec) {
  std::vector<int64_t> classes(static_cast<size_t>(spec.image.classes));
  std::iota(classes.begin(), classes.end(), 0);
  return classes;
}

ImageTokens DrawImages(const Network& net, const DrawImagesOptions& options,
                       const Console& console) {
  CheckSampling(options.sampling);
  CheckClasses(options.classes, net.spec);
  if (options.per_class < 1)
    ThrowUsage({.what = "bad value", .where = "--per-class", .expected = "1 or more"});
  const int64_t count = static_cast<int64_t>(options.classes.size()) * options.per_class;
  const int64_t length = net.spec.max_tokens;
  const int64_t at_once = ImagesAtOnce(net, options.sampling.guidance != 1);
  ImageTokens images;
  images.classes = at::tensor(options.classes, at::kLong).repeat_interleave(options.per_class);
  std::vector<at::Tensor> parts;
  Progress progress(console, "draw", count);
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t end = std::min(count, begin + at_once);
    parts.push_back(SampleImages(net, images.classes.slice(0, begin, end),
                                 Uniforms(options, begin, end, length), options.sampling)
                        .to(at::kCPU));
    progress.Step(end - begin);
  }
  images.tokens = at::cat(parts);
  return images;
}

Samples ReadImageSamples(const ModelSpec& spec, const std::filesystem::path& file,
                         const DrawOptions& options) {
  return MakeImageSamples(spec, ReadImageTokens(file, ImageLimits(spec)), options);
}

void RefuseImageOptions(const ModelSpec& spec, const ImageCalibrationOptions& options) {
  if (spec.image.grid > 0) return;
  const ImageCalibrationOptions usual;
  const std::pair<const char*, bool> given[] = {
      {"--per-class", options.per_class != usual.per_class},
      {"--null-share", options.null_share != usual.null_share},
      {"--guidance", options.sampling.guidance != usual.sampling.guidance},
      {"--temperature", options.sampling.temperature != usual.sampling.temperature},
      {"--top-k", options.sampling.top_k != usual.sampling.top_k}};
  for (const auto& [option, other] : given) {
    if (!other) continue;
    ThrowUsage({.what = "the option is for models of images alone",
                .where = option,
                .expected = "a model of image tokens",
                .found = fmt::format("{}, a model of text", Printable(spec.family)),
                .hint = fmt::format("drop {}", option)});
  }
}

Samples CalibrateOnImages(const Network& net, const ImageCalibrationOptions& options,
                          const Console& console) {
  if (!(options.null_share >= 0 && options.null_share <= 1))
    ThrowUsage({.what = "bad value", .where = "--null-share", .expected = "0 to 1"});
  const bool self = options.data == kSelf;
  const ImageTokens images = self ? DrawImages(net,
                                               {.classes = AllClasses(net.spec),
                                                .per_class = options.per_class,
                                                .sampling = options.sampling,
                                                .seed = options.seed},
                                               console)
                                  : ReadImageTokens(options.data, ImageLimits(net.spec));
  Samples samples =
      MakeImageSamples(net.spec, images, {.count = self ? 0 : options.count, .seed = options.seed});
  const auto null = static_cast<int32_t>(net.spec.vocabulary + net.spec.image.classes);
  for (size_t i = 0; i < samples.samples.size(); ++i) {
    const auto before = static_cast<double>(i) * options.null_share;
    if (std::floor(before + options.null_share) > std::floor(before))
      samples.samples[i].encoding.ids[0] = null;
  }
  return samples;
}

}  // namespace coppice
