// The two residual streams of a repair: the teacher's h_T and the student's h_S, over batches of
// samples, moving through the network one sub-layer at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "calibrate/residual_stream.h"
#include "calibrate/samples.h"
#include "model/attention.h"
#include "model/divergence.h"
#include "model/network.h"
#include "tune/moments.h"

namespace coppice {

// What a sub-layer is fitted to; f is the dense sub-layer, g the student's.
enum class Target {
  kDrift,  // f(h_T) + h_T - h_S - g(h_S): makes up for the layers before as well
  kOwn,    // f(h_S) - g(h_S): what the dense sub-layer would make of the student's stream
  kDense,  // f(h_T) - g(h_T): each sub-layer by itself, on the dense stream
};

// Samples that are fitted, and samples that choices are made by; the second may be empty.
struct FitSamples {
  const Samples& fitted;
  const Samples& held_out;
};

// A batch and where the two streams stand in it, its M real tokens in rows, packed.
struct Streams {
  Batch batch;
  AttentionContext context;
  ResidualStream teacher, student;  // (M, D)
  bool held_out = false;
  at::Tensor inputs;  // (M, I) the student's unit inputs of the present sub-layer, or undefined
  // (M, D) what the student's sub-layer is to give, where FitRules::keep_target wants it kept.
  std::optional<ResidualStream> target = {};
};

// M of all.
int64_t TokensOf(const std::vector<Streams>& streams);

// Both streams after the embedding, where there is room for them (calibrate/residual_stream.h).
std::vector<Streams> StartStreams(const Network& teacher, const FitSamples& samples,
                                  int64_t batch_tokens);

struct FitRules {
  Target target = Target::kDrift;
  bool first_only = false;     // the first token of every sample alone is fitted
  bool keep_inputs = false;    // the student's unit inputs stay for Advance()
  bool keep_target = false;    // what the sub-layer is to give stays for RefitMoments()
  bool own_rival = false;      // the residual of Target::kOwn is gathered as a rival
  bool next_is_known = false;  // the student's next sub-layer stays as it is until it is fitted
  // f of a feed-forward sub-layer is this network's, where there is one; the teacher's stream moves
  // on with its own all the same (tune/published_tuning.h).
  const Network* unpruned = nullptr;
};

// First pass over sub-layer `index`: the moments of its fit. The teacher's stream moves on, where
// the target reads it.
SplitMoments FitMoments(const Network& teacher, const Network& student, size_t index,
                        const FitRules& rules, std::vector<Streams>* streams);

// The same once more, of a sub-layer whose own matrices have changed since FitMoments() kept what
// it is to give.
SplitMoments RefitMoments(const Network& student, size_t index, bool keep_inputs,
                          std::vector<Streams>* streams);

// Moments of what the sub-layer's matrices read, z_S, and of z_T - z_S: for tune/align.h.
SplitMoments InputMoments(const Network& teacher, const Network& student, size_t index,
                          std::vector<Streams>* streams);

// Second pass: the student's stream moves on through the repaired sub-layer.
void Advance(const Network& student, size_t index, std::vector<Streams>* streams);

// Of the student's outputs from the teacher's over the held-out samples; at the end of the network.
Divergence HeldOutDivergence(const Network& teacher, const Network& student,
                             const std::vector<Streams>& streams);

}  // namespace coppice
