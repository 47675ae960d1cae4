// Heads that are narrower than the dense model's, as config.json says them: of each layer the width
// of its values and that of its queries and keys, and, where a model rotates, which pairs turn.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/config_reader.h"
#include "model/model.h"

namespace coppice {

struct HeadWidths {
  std::vector<int64_t> values, keys;        // (L) F and K
  std::vector<std::vector<int64_t>> pairs;  // (L) of (K / 2), or empty for all of them
};

// rotates: keys are pairs, of which "pairs" says the ones that are there. Throws Error (kBadInput).
HeadWidths ReadHeadWidths(const ConfigReader& read, int64_t layers, int64_t head_width,
                          bool rotates);

// Adds what is narrower to a "coppice" block.
void AddHeadWidths(const ModelSpec& spec, nlohmann::ordered_json* block);

// Whether any head is narrower than the dense model's, or turns other pairs.
bool HasNarrowHeads(const ModelSpec& spec);

}  // namespace coppice
