#include "calibrate/self_text.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "core/random.h"
#include "model/generate.h"

namespace coppice {
namespace {

constexpr int64_t kGreedy = 4;  // tokens after the first that are the likeliest

// Next token of every row, (B) int64 on the CPU: where the cumulated distribution passes the row's
// random number. logits: (B, V).
at::Tensor Draw(const at::Tensor& logits, std::vector<Random>* random) {
  std::vector<double> points;
  for (Random& one : *random) points.push_back(one.Uniform());
  const at::Tensor cumulated = at::softmax(logits.to(at::kDouble), 1).cumsum(1);
  const at::Tensor at = at::tensor(points, at::kDouble).to(logits.device()).unsqueeze(1);
  return at::searchsorted(cumulated, at, /*out_int32=*/false, /*right=*/true)
      .squeeze(1)
      .clamp_max(logits.size(1) - 1);
}

}  // namespace

Samples DrawSelfText(const Network& net, int64_t count, int64_t length, uint64_t seed,
                     const Console& console) {
  at::NoGradGuard no_gradients;
  std::vector<Random> random;
  std::vector<int64_t> first;
  for (int64_t i = 0; i < count; ++i) {
    random.emplace_back(seed, static_cast<uint64_t>(i) + 1);
    first.push_back(random.back().Below(net.spec.vocabulary));
  }
  at::Tensor next = at::tensor(first, at::kLong).to(net.compute.device);  // (B)
  std::vector<at::Tensor> tokens = {next};
  Generation generation;
  Progress progress(console, "own text", length);
  for (int64_t t = 1; t < length; ++t) {
    const at::Tensor logits = Extend(net, next.unsqueeze(1), &generation);  // (B, V)
    next = t <= kGreedy ? logits.argmax(1) : Draw(logits, &random);
    tokens.push_back(next);
    progress.Step();
  }
  const at::Tensor ids = at::stack(tokens, 1).to(at::kCPU);  // (B, T)
  Samples samples;
  samples.labelled = true;  // the next token
  for (int64_t i = 0; i < count; ++i) {
    Sample sample;
    const at::Tensor row = ids[i].contiguous();
    const int64_t* values = row.const_data_ptr<int64_t>();
    sample.encoding.ids.assign(values, values + length);
    sample.encoding.type_ids.assign(static_cast<size_t>(length), 0);
    samples.samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace coppice
