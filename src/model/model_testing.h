// What tests of models share: golden cases as batches, random tensors, and differences.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/random.h"
#include "model/batch.h"
#include "model/forward.h"
#include "testdata.h"

namespace coppice {

// Largest absolute difference; NaN where either side has one, which no bound accepts.
inline double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  Check(a.sizes().equals(b.sizes()), "tensors of different shapes");
  if (a.numel() == 0) return 0;
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Standard normal float32, the same on every platform.
inline at::Tensor RandomTensor(at::IntArrayRef shape, Random* random) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = static_cast<float>(random->Normal());
  return tensor;
}

// A case has ids, and type_ids unless they are all 0.
inline Batch GoldenBatch(const std::vector<nlohmann::json>& cases, int64_t pad_id) {
  size_t length = 0;
  for (const nlohmann::json& one : cases) length = std::max(length, one["ids"].size());
  const std::vector<int64_t> shape = {static_cast<int64_t>(cases.size()),
                                      static_cast<int64_t>(length)};
  Batch batch;
  batch.ids = at::full(shape, pad_id, at::kLong);
  batch.type_ids = at::zeros(shape, at::kLong);
  batch.mask = at::zeros(shape, at::kBool);
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const auto ids = cases[i]["ids"].get<std::vector<int64_t>>();
    const auto tokens = static_cast<int64_t>(ids.size());
    batch.ids[row].slice(0, 0, tokens).copy_(at::tensor(ids, at::kLong));
    if (cases[i].contains("type_ids")) {
      const auto types = cases[i]["type_ids"].get<std::vector<int64_t>>();
      batch.type_ids[row].slice(0, 0, tokens).copy_(at::tensor(types, at::kLong));
    }
    batch.mask[row].slice(0, 0, tokens).fill_(true);
    batch.padded = batch.padded || ids.size() < length;
    batch.samples.push_back(row);
  }
  batch.real = batch.mask.flatten().nonzero().squeeze(1);
  return batch;
}

inline at::Tensor Numbers(const nlohmann::json& list) {
  return at::tensor(list.get<std::vector<double>>(), at::kDouble);
}

// What Forward() should give for a case: (labels), (T, 2) or (D); of an embedding as much as the
// golden has.
inline at::Tensor GoldenOutput(const nlohmann::json& one) {
  if (one.contains("logits")) return Numbers(one["logits"]);
  if (one.contains("embedding")) return Numbers(one["embedding"]);
  return at::stack({Numbers(one["start_logits"]), Numbers(one["end_logits"])}, 1);
}

// Row `row` of an output, cut to what the golden has: padding of question answering, the end of an
// embedding.
inline at::Tensor OutputLike(const at::Tensor& golden, const at::Tensor& output, int64_t row) {
  return output[row].slice(0, 0, golden.size(0));
}

inline at::Tensor Outputs(const Network& net, const Batch& batch,
                          const UnitObserver& observer = {}) {
  at::NoGradGuard no_gradients;
  return Forward(net, batch, observer);
}

}  // namespace coppice
