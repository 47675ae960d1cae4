// What a model or a plan costs: MACs at a sequence length, parameters, bytes.
//
// MACs of the blocks follow Kwon et al. 2022 (embeddings, norms and softmax are left out):
//   head       4 * T * D * E + 2 * T^2 * E      (query, key, value, output; scores and mixing)
//   KV group   (2 R + 2) * T * D * E + 2 * R * T^2 * E    (half of it for values, half for keys)
//   channel    2 * T * D, gated 3 * T * D
// A unit's cost is a whole number, rounded up, so that a plan's cost is exact and never
// under-counted.
//
// Latency does not grow in step with the units: its table has a curve for every sub-layer, which
// latency/table.h makes of measurements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/plan.h"
#include "model/model.h"

namespace coppice {

enum class CostKind { kMacs, kParameters, kLatency };
enum class CostScope { kBlocks, kModel };

// What a unit of an attention sub-layer costs by the widths of its heads.
struct HeadCost {
  int64_t values = 0, keys = 0;       // numbers that are there: F and K
  double per_value = 0, per_key = 0;  // of one of them
};

// Cost of one unit of each sub-layer (2L), or of each number of units, and of everything that
// cannot be pruned.
struct CostTable {
  std::vector<int64_t> unit;   // (2L); not used where there are curves
  std::vector<int64_t> units;  // (2L) units that are there
  int64_t fixed = 0;           // 0 for CostScope::kBlocks
  // (2L), of 0, 1, ..., units units: from 0, never falling. Empty: units cost `unit` each.
  std::vector<std::vector<int64_t>> curves;
  std::optional<int64_t> measured;   // of the whole model, where the parts are estimates
  std::vector<HeadCost> heads = {};  // (2L), zeros for channels; empty where there are curves
  // shape: of heads that become narrower, which needs `heads`.
  int64_t OfSubLayer(size_t index, int64_t kept, HeadShape shape = {}) const;
  int64_t Dense() const;  // of the whole model: as measured, or the sum
  int64_t Of(const Plan& plan) const;
};

// Of MACs or parameters. `tokens` is a mean length and may be fractional; it only matters for MACs.
CostTable MakeCostTable(const Model& model, CostKind kind, CostScope scope, double tokens);

struct ModelSize {
  int64_t macs_blocks = 0;
  int64_t macs = 0;               // with the head
  int64_t parameters_blocks = 0;  // of units alone
  int64_t parameters = 0;         // a layer's copy of a shared table is not counted
  int64_t bytes = 0;              // of all tensors, in the dtypes that they have here
};

ModelSize MeasureSize(const Model& model, double tokens);

// Of the file, where that is a GGUF file, whose numbers have other types than ours; otherwise
// size.bytes.
int64_t BytesInFile(const std::filesystem::path& file, const ModelSize& size);

}  // namespace coppice
