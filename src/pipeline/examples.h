// The examples of a prune: those that are fitted, those that choices are made by, and those that
// the result is measured on.
#pragma once

#include <optional>

#include "calibrate/samples.h"
#include "core/console.h"
#include "data/dataset.h"
#include "model/model.h"
#include "model/network.h"
#include "pipeline/prune.h"
#include "tokenize/tokenizer.h"

namespace coppice {

// Empty without --eval.
struct Evaluation {
  Dataset dataset;
  Samples samples;
};

struct Examples {
  Samples fitted, held_out;  // held out of the default method alone
  Evaluation evaluation;
};

// Draws and reads them; their numbers go into the report, and a warning to the console where
// samples to measure on were seen in calibration. tokenizer: of models of text. Throws Error
// (kBadInput).
Examples ReadExamples(const Model& model, const Network& dense,
                      const std::optional<Tokenizer>& tokenizer, const Console& console,
                      PruneReport* report);

}  // namespace coppice
