// Outputs of language models, whose logits over the vocabulary are too many to keep:
// log-probabilities of the next tokens, and what can be said of two models while both logits are
// there.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "eval/compare.h"
#include "model/batch.h"
#include "model/network.h"

namespace coppice {

// Tokens of a batch whose logits over the vocabulary are few enough to be there at one time.
int64_t BatchTokens(const ModelSpec& spec);

// Log-probability of each next token, nats: (B, T - 1) float32 from logits (B, T, V), or (B, T)
// where the batch knows what follows the last one.
at::Tensor NextTokenLogProbabilities(const at::Tensor& logits, const Batch& batch);

// The same from the end of the residual stream, (B, T, D) float32. room: see model/logits.h.
at::Tensor NextTokenLogProbabilities(const Network& net, const at::Tensor& hidden,
                                     const Batch& batch, at::Tensor* room);

// The perplexity of samples' log-probabilities: exp of their negative mean over all tokens.
double Perplexity(const std::vector<at::Tensor>& log_probabilities);

struct LanguageModelPair {
  std::vector<at::Tensor> first, second;  // log-probabilities of every sample
  Comparison comparison;                  // over all tokens; agreement: of the likeliest next token
};

// Both models of one vocabulary. The first is the reference.
LanguageModelPair RunLanguageModelPair(const Network& first, const Network& second,
                                       const Samples& samples, const Console& console);

}  // namespace coppice
