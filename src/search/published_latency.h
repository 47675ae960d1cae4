// The search under a latency budget of Kwon et al. 2022, as their code has it (--as-published).
//
// A sub-layer's time is modelled as a constant c up to a threshold of units and a line beyond it.
// The threshold's best units of each layer come free with the layer; layers of each kind are
// dropped whole, those with the least sum of such units first; for each number of dropped layers
// the other units compete as in SearchGlobally(), with the slopes as costs. Only the scores of
// those other units decide which combination wins.
//
// Kept as published, and known: the budget is lowered inside the loops over dropped layers and
// never set back, so that after the first combination it is too small, and what a plan costs is not
// what was asked for; at least one head beyond the threshold is taken, even where it goes over by
// less than a channel; dropped layers' units may be chosen again, with score 0; the share is of
// heads and channels alone. Where the code divides by a slope of 0 or finds no combination, this
// throws.
#pragma once

#include "search/global_search.h"

namespace coppice {

// Constant, then linear.
struct PublishedLatency {
  int64_t threshold = 0;  // units
  double constant = 0;    // up to the threshold
  double slope = 0;       // of each unit beyond it
};

// table: time of 1, 2, ... units.
PublishedLatency FitPublishedLatency(const std::vector<double>& table);

// costs: with curves, the same for all sub-layers of a kind. limit: as SearchGlobally()'s. Throws
// Error (kBudget) where the published rules give no plan.
GlobalSearchResult SearchLatencyAsPublished(const ModelSpec& spec,
                                            const std::vector<at::Tensor>& scores,
                                            const CostTable& costs, int64_t limit);

}  // namespace coppice
