// What tests of kernels share: encoders of random numbers, and batches of given lengths.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/model_testing.h"
#include "model/network.h"

namespace coppice {

// Texts of random tokens from 2 on, padded to the longest.
inline Batch BatchOf(const std::vector<int64_t>& lengths, int64_t vocabulary, at::Device device) {
  Random random(3);
  const auto texts = static_cast<int64_t>(lengths.size());
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  Batch batch;
  batch.ids = at::zeros({texts, longest}, at::kLong);
  batch.type_ids = at::zeros({texts, longest}, at::kLong);
  batch.mask = at::zeros({texts, longest}, at::kBool);
  for (int64_t i = 0; i < texts; ++i) {
    const int64_t length = lengths[static_cast<size_t>(i)];
    for (int64_t t = 0; t < length; ++t) {
      batch.ids[i][t] = 2 + random.Below(vocabulary - 2);
    }
    batch.type_ids[i].slice(0, length / 2, length).fill_(1);
    batch.mask[i].slice(0, 0, length).fill_(true);
    batch.padded = batch.padded || length < longest;
    batch.samples.push_back(i);
  }
  batch.real = batch.mask.flatten().nonzero().squeeze(1).to(device);
  batch.ids = batch.ids.to(device);
  batch.type_ids = batch.type_ids.to(device);
  batch.mask = batch.mask.to(device);
  return batch;
}

// An encoder that classifies: two layers, the second cut.
struct EncoderShape {
  int64_t width = 96;
  std::vector<int64_t> heads = {3, 2}, channels = {256, 104};
  int64_t key_width = 32, value_width = 32;
  bool relative_bias = true;
};

// The same numbers in every dtype: they are rounded to bfloat16.
inline Network RandomEncoder(const EncoderShape& shape, const Compute& compute) {
  Random random(11);
  const auto exact = [&](at::IntArrayRef sizes, double scale) {
    return (RandomTensor(sizes, &random) * scale).to(at::kBFloat16).to(at::kFloat);
  };
  const auto bound = [&](const at::Tensor& x, at::ScalarType dtype) {
    return x.to(compute.device, dtype).contiguous();
  };
  const auto linear = [&](int64_t outputs, int64_t inputs) -> Linear {
    const double scale = inputs == 0 ? 0 : 1.5 / std::sqrt(static_cast<double>(inputs));
    return {bound(exact({outputs, inputs}, scale), compute.dtype),
            bound(exact({outputs}, 0.3), compute.dtype)};
  };
  const auto norm = [&]() -> Norm {
    return {bound(1 + exact({shape.width}, 0.2), at::kFloat),
            bound(exact({shape.width}, 0.2), at::kFloat)};
  };
  Network net;
  net.compute = compute;
  net.spec.task = Task::kClassification;
  net.spec.labels = 2;
  net.spec.width = shape.width;
  net.spec.vocabulary = 50;
  net.spec.max_tokens = 300;
  net.spec.pad_id = 1;
  net.spec.norm_eps = 1e-5;
  net.word = bound(exact({50, shape.width}, 1), at::kFloat);
  net.position = bound(exact({300, shape.width}, 1), at::kFloat);
  net.token_type = bound(exact({2, shape.width}, 1), at::kFloat);
  net.embedding_norm = norm();
  for (size_t layer = 0; layer < shape.heads.size(); ++layer) {
    SubLayer attention, feed_forward;
    attention.units = shape.heads[layer];
    attention.key_width = shape.key_width;
    attention.width = shape.value_width;
    attention.scale = 1 / std::sqrt(static_cast<double>(shape.key_width));
    attention.in = {
        linear(attention.units * (2 * shape.key_width + shape.value_width), shape.width)};
    attention.out = linear(shape.width, attention.units * shape.value_width);
    attention.norm = norm();
    if (shape.relative_bias)
      attention.relative_bias = bound(exact({32, attention.units}, 1), at::kFloat);
    feed_forward.kind = UnitKind::kChannel;
    feed_forward.units = shape.channels[layer];
    feed_forward.in = {linear(feed_forward.units, shape.width)};
    feed_forward.out = linear(shape.width, feed_forward.units);
    feed_forward.norm = norm();
    net.sub_layers.push_back(attention);
    net.sub_layers.push_back(feed_forward);
  }
  Linear head = linear(2, shape.width);
  net.head = {{{head.weight.to(at::kFloat), head.bias.to(at::kFloat)}, Activation::kIdentity}};
  return net;
}

}  // namespace coppice
