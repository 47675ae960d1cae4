// Examples as a model reads them: token ids and what the loss needs, drawn with a seed, batched by
// length.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "data/squad.h"
#include "model/batch.h"
#include "model/model.h"
#include "model/network.h"
#include "tokenize/tokenizer.h"

namespace coppice {

struct Sample {
  Encoding encoding;
  double label = 0;   // class number or regression value
  int64_t start = 0;  // question answering: gold token positions
  int64_t end = 0;
  uint64_t context = 0;  // question answering: the same of all windows and questions of a context
  int64_t next = kNoToken;  // language models: the token after the last, where it is known
  int64_t tokens() const { return static_cast<int64_t>(encoding.ids.size()); }
  // Language models: tokens that another one is known to follow.
  int64_t followed() const { return tokens() - (next == kNoToken ? 1 : 0); }
};

struct Samples {
  std::vector<Sample> samples;
  std::vector<SquadWindow> windows;  // question answering: the window of each sample
  bool labelled = false;             // whether every sample has its label
  int64_t tokens() const;
  double mean_tokens() const;
};

struct DrawOptions {
  int64_t count = 0;  // samples drawn; 0 takes all, in the file's order
  uint64_t seed = 0;
  int64_t first = 0;  // language models: windows from the start of the text
  bool with_replacement = false;
  int64_t max_length = 0;  // tokens a sample at most; 0: the model's longest input
};

// Tokenizes what is drawn. For a language model see calibrate/text_windows.h; for others text of a
// .txt file is cut into paragraphs (at blank lines), each a sample. Throws Error (kBadInput) naming
// file and line for examples that do not fit the task: no context for question answering, a label
// that is not a class of the model, an id beyond the vocabulary. With `need_labels`, a missing
// label is an error.
Samples DrawSamples(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                    const DrawOptions& options, bool need_labels);

// Takes every `every`-th sample out of `samples` and returns them; samples and what is taken stay
// in their order.
Samples TakeEvery(int64_t every, Samples* samples);

// The same with samples of one context all taken or all left, so that none of a taken sample's text
// stays: every `every`-th context, in the order in which they first come.
Samples HoldOut(int64_t every, Samples* samples);

// Tokens of a batch, where nothing else bounds them. On the CPU enough for products at their full
// rate, few enough that texts of a batch have nearly one length and activations stay in the caches.
int64_t UsualBatchTokens(at::Device device);

// The same on a GPU where rows are packed, so that padding costs nothing: as many as its unit
// inputs have room for.
int64_t PackedTokens(const Network& net);

// Batches of at most `max_tokens` padded tokens (one sample at least), shortest samples first, on
// `device`.
std::vector<Batch> MakeBatches(const Samples& samples, const ModelSpec& spec, int64_t max_tokens,
                               at::Device device);

}  // namespace coppice
