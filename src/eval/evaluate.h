// The metric of a task from a model's outputs: accuracy; Spearman correlation for regression; SQuAD
// F1 and exact match; perplexity.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "calibrate/samples.h"
#include "data/dataset.h"
#include "model/model.h"

namespace coppice {

struct Metric {
  std::string name;  // "accuracy", "spearman", "f1", "perplexity"
  double value = 0;
  std::optional<double> exact_match;  // question answering
};

// Nothing for a model without a head. outputs: of each sample, as RunModel() gives them. dataset:
// what the samples were made from, in its order.
std::optional<Metric> ComputeMetric(const ModelSpec& spec, const Dataset& dataset,
                                    const Samples& samples, const std::vector<at::Tensor>& outputs);

}  // namespace coppice
