// How close two models' outputs are on the same samples.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "model/model.h"

namespace coppice {

struct Comparison {
  double max_difference = 0;   // of any output number
  double mean_difference = 0;  // mean absolute
  std::optional<double>
      kl;  // classification, question answering: mean KL(reference || other), nats
  std::optional<double> agreement;  // the same: share of samples with the same answer
  std::optional<double> cosine;     // embeddings: mean cosine similarity
};

// outputs: of each sample, as RunModel() gives them; both models of one task with as many labels.
Comparison CompareOutputs(Task task, const std::vector<at::Tensor>& reference,
                          const std::vector<at::Tensor>& other);

}  // namespace coppice
