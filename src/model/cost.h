// What a model or a plan costs: MACs at a sequence length, parameters, bytes.
//
// MACs of the blocks follow Kwon et al. 2022 (embeddings, norms and softmax are left out):
//   head       4 * T * D * E + 2 * T^2 * E      (query, key, value, output; scores and mixing)
//   KV group   (2 R + 2) * T * D * E + 2 * R * T^2 * E
//   channel    2 * T * D, gated 3 * T * D
// A unit's cost is a whole number, rounded up, so that a plan's cost is exact and never
// under-counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/plan.h"
#include "model/model.h"

namespace coppice {

enum class CostKind { kMacs, kParameters };
enum class CostScope { kBlocks, kModel };

// Cost of one unit of each sub-layer (2L), and of everything that cannot be pruned.
struct CostTable {
  std::vector<int64_t> unit;   // (2L)
  std::vector<int64_t> units;  // (2L) units that are there
  int64_t fixed = 0;           // 0 for CostScope::kBlocks
  int64_t Dense() const;
  int64_t Of(const Plan& plan) const;
};

// `tokens` is a mean length and may be fractional; it only matters for MACs.
CostTable MakeCostTable(const Model& model, CostKind kind, CostScope scope, double tokens);

struct ModelSize {
  int64_t macs_blocks = 0;
  int64_t macs = 0;               // with the head
  int64_t parameters_blocks = 0;  // of units alone
  int64_t parameters = 0;         // a layer's copy of a shared table is not counted
  int64_t bytes = 0;              // of all tensors, in the file's dtypes
};

ModelSize MeasureSize(const Model& model, double tokens);

}  // namespace coppice
