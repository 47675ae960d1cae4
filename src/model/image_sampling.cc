#include "model/image_sampling.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>

#include "core/error.h"
#include "model/generate.h"

namespace coppice {
namespace {

// logits: (N, V) float32; uniforms: (N, 1) float64.
at::Tensor Draw(at::Tensor logits, const at::Tensor& uniforms, const ImageSampling& options) {
  const int64_t vocabulary = logits.size(1);
  logits = logits / options.temperature;
  if (options.top_k > 0 && options.top_k < vocabulary) {
    const at::Tensor least = std::get<0>(logits.topk(options.top_k, 1)).slice(1, -1);
    logits = logits.masked_fill(logits.lt(least), -std::numeric_limits<double>::infinity());
  }
  const at::Tensor sums = at::cumsum(at::softmax(logits.to(at::kDouble), 1), 1);
  const at::Tensor drawn = sums.le(uniforms * sums.slice(1, -1)).sum(1);
  return drawn.clamp_max(vocabulary - 1);
}

}  // namespace

at::Tensor SampleImages(const Network& net, const at::Tensor& classes, const at::Tensor& uniforms,
                        const ImageSampling& options) {
  const ImageTokenSpec& image = net.spec.image;
  const int64_t length = image.grid * image.grid;
  Check(image.grid > 0 && uniforms.size(1) == length, "images are drawn from models of images");
  at::NoGradGuard no_gradients;
  const bool guided = options.guidance != 1;
  const at::Tensor points = uniforms.to(net.compute.device, at::kDouble);
  const auto repeated = [&](const at::Tensor& ids) { return guided ? at::cat({ids, ids}) : ids; };
  at::Tensor ids = (classes.to(net.compute.device) + net.spec.vocabulary).unsqueeze(1);  // (N, 1)
  if (guided) ids = at::cat({ids, at::full_like(ids, net.spec.vocabulary + image.classes)});
  Generation generation;
  std::vector<at::Tensor> tokens;
  for (int64_t i = 0; i < length; ++i) {
    at::Tensor logits = Extend(net, ids, &generation);
    if (guided) {
      const std::vector<at::Tensor> parts = logits.chunk(2);
      logits = parts[1] + options.guidance * (parts[0] - parts[1]);
    }
    tokens.push_back(Draw(logits, points.slice(1, i, i + 1), options).unsqueeze(1));
    ids = repeated(tokens.back());
  }
  return at::cat(tokens, 1);
}

}  // namespace coppice
