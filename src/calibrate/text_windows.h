// Text as a language model reads it: one stream of tokens cut into windows.
#pragma once

#include "calibrate/samples.h"

namespace coppice {

inline constexpr int64_t kTextWindow = 1024;  // tokens, where the model's context is not shorter

// The texts of all examples, joined by newlines, as one stream of token ids (with a BOS only where
// the tokenizer adds one), cut into windows of options.max_length tokens (kTextWindow without it)
// that do not overlap; the last, partial one is dropped. options.count windows spread evenly over
// the stream, or options.first from its start, or all. Throws Error (kBadInput) for a text shorter
// than a window.
Samples CutTextWindows(const ModelSpec& spec, const Tokenizer& tokenizer, const Dataset& dataset,
                       const DrawOptions& options);

}  // namespace coppice
