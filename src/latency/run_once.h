// One run of a bound model over random tokens, with a clock beside it.
#pragma once

#include "model/batch.h"
#include "model/network.h"

namespace coppice {

// Rows of random tokens, none of them padding. The same every time.
Batch RandomBatch(const ModelSpec& spec, int64_t rows, int64_t tokens, const Compute& compute);

// Milliseconds of a forward pass; of a language model, of reading a prompt up to the next token's
// logits.
double MeasureReading(const Network& net, const Batch& batch);

// Milliseconds of a language model's prompt, and of each of the tokens after it, in the mean.
struct GenerationMs {
  double prefill = 0, decode = 0;
};

GenerationMs MeasureGeneration(const Network& net, const Batch& batch);

}  // namespace coppice
