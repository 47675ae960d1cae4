// The training loss of each sample, and labels drawn from the model where the data has none.
//
// Classification: cross entropy. Regression: squared error. Question answering: mean of the cross
// entropies of start and end. Embedding: half the squared distance to a target. Drawing labels from
// the model's own predictive distribution gives the true Fisher information (Kunstner et al. 2019):
// a class from the softmax; for a regression value or an embedding the prediction plus unit
// Gaussian noise, whose gradient is one random probe of the output's Jacobian. A fine-tuned model
// is nearly always sure of its answer, so that few drawn labels have a gradient to speak of;
// ProbeLosses() has the same expectation without that noise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "calibrate/samples.h"
#include "model/batch.h"
#include "model/model.h"

namespace coppice {

enum class LabelSource { kData, kModel, kProbe };
std::string LabelSourceName(LabelSource source);  // "data", "model", "probe"

// Targets of a batch, on the output's device: classes (B) int64, values (B) float32, start and end
// (B, 2) int64, or embeddings (B, D) float32; a language model's are in its batches. Drawn labels
// depend on seed and sample number only, not on the batch.
at::Tensor MakeTargets(const ModelSpec& spec, const Samples& samples, const Batch& batch,
                       const at::Tensor& output, LabelSource source, uint64_t seed);

// (B) loss of each sample. output: as ApplyHead() gives it.
at::Tensor SampleLosses(Task task, const at::Tensor& output, const at::Tensor& targets);

// (B) what SampleLosses() is on the average over drawn labels: of a softmax its entropy.
at::Tensor ExpectedLosses(Task task, const at::Tensor& output);

// (B) scalars whose gradients have the true Fisher information as their second moment, with less
// noise than gradients of drawn labels: v'z with z the output, v = L e, L L' = diag(p) - p p' (the
// Fisher information of a softmax by its logits) and e random signs. With two classes no noise is
// left at all. Regression: L = 1 (unit variance); embeddings: L = Id; not for language models,
// whose vocabulary is too wide. Signs depend on seed and sample number only.
at::Tensor ProbeLosses(Task task, const at::Tensor& output, const Batch& batch, uint64_t seed);

}  // namespace coppice
