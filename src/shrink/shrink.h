// Cuts the tensors: every slice of every unit that a plan drops is gone, nothing masked is left.
#pragma once

#include "core/machine_memory.h"
#include "core/plan.h"
#include "model/model.h"

namespace coppice {

// A model whose sub-layers hold the kept units only, in their order, with heads as narrow as the
// plan has them: of each head's values, queries and keys the first numbers stay, or of what turns
// the first pairs. Tensors that no unit owns are shared with `model`. The plan must be valid for
// the model (ValidatePlan, ValidateHeads). Cut tensors of more than `memory` bytes in all wait in
// files.
Model Shrink(const Model& model, const Plan& plan, int64_t memory = kUnlimited);

// Units of every sub-layer, as ValidatePlan() wants them.
std::vector<int64_t> UnitCounts(const ModelSpec& spec);

// Widths of every sub-layer's heads, as ValidateHeads() wants them; 0 of channels.
std::vector<HeadShape> HeadShapes(const ModelSpec& spec);

}  // namespace coppice
