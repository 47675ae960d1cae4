// Models that are run for their time alone: short, every layer of the same shape, with the
// matrices of a real model cut or repeated to size.
//
// A sub-layer's time is taken where it will be spent, inside a model whose weights do not fit the
// caches: a probe has several layers of memory of their own, and two probes that differ in one
// width differ in time by as many sub-layers.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace coppice {

// Widths that are run. Attention varies while the feed-forward sub-layers have half their channels,
// and the other way round.
struct ProbeWidths {
  int64_t layers = 0;             // of a probe
  std::vector<int64_t> heads;     // ascending, from 0 to the most that a sub-layer has
  std::vector<int64_t> channels;  // likewise
  int64_t half_heads = 0, half_channels = 0;
};

ProbeWidths ChooseProbeWidths(const ModelSpec& spec);

// A model of `layers` layers with so many heads (or KV groups) and channels each, and few words.
Model MakeProbe(const Model& model, int64_t layers, int64_t heads, int64_t channels);

// The model with no unit left in any sub-layer: what pruning cannot take away.
Model MakeEmpty(const Model& model);

}  // namespace coppice
