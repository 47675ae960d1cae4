// Heads that are narrower inside as further levels of a sub-layer: what every width of their values
// and of their queries and keys costs in loss, and the bases that they are cut in.
#pragma once

#include <vector>

#include "model/cost.h"
#include "model/head_basis.h"
#include "model/network.h"
#include "score/key_basis.h"
#include "score/replacement.h"
#include "score/value_levels.h"
#include "search/level_search.h"

namespace coppice {

// Which of them a run narrows.
struct HeadParts {
  bool values = false, keys = false;
  bool any() const { return values || keys; }
};

// Queries and keys of `keys` numbers in all of the sub-layer's heads; nats.
struct KeyLevel {
  int64_t keys = 0;
  double loss = 0;
};

struct HeadLevels {
  std::vector<HeadBasis> bases;                 // of each sub-layer; empty where heads stay whole
  std::vector<std::vector<ValueLevel>> values;  // likewise
  std::vector<std::vector<KeyLevel>> keys;      // likewise
};

// The basis of a sub-layer's heads; nothing of channels. moments: of every sub-layer, where keys
// are narrowed.
HeadBasis MakeHeadBasis(const Model& model, const Network& dense, size_t index,
                        const Curvature& curvature, const std::vector<ReaderMoments>& moments,
                        HeadParts parts);

// Widths of queries and keys that are tried: three quarters, half and a quarter, even numbers.
std::vector<int64_t> KeyWidths(const SubLayerSpec& sub);

// The sub-layer with queries and keys of each of KeyWidths().
std::vector<Replacement> WithNarrowKeys(const Model& model, const Network& dense, size_t index,
                                        const std::vector<HeadBasis>& bases);

// From what such replacements were measured to lose, nats, and the floor of that measurement.
std::vector<KeyLevel> KeyLevelsOf(const SubLayerSpec& sub, const std::vector<double>& measured,
                                  double floor);

// Multiplies the losses of a sub-layer's narrower values.
void ScaleValues(double scale, size_t index, HeadLevels* heads);

// A sub-layer's levels with narrower heads, of which `levels` has the whole ones. Queries and keys
// cost what they cost of all heads, times the share of heads that stays. least: units that stay.
Levels WithNarrowHeads(const HeadLevels& heads, size_t index, const CostTable& costs, int64_t least,
                       Levels levels);

}  // namespace coppice
