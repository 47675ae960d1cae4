// Cuts the tensors: every slice of every unit that a plan drops is gone, nothing masked is left.
#pragma once

#include "core/machine_memory.h"
#include "core/plan.h"
#include "model/model.h"

namespace coppice {

// A model whose sub-layers hold the kept units only, in their order. Tensors that no unit owns are
// shared with `model`. The plan must be valid for the model (ValidatePlan). Cut tensors of more
// than `memory` bytes in all wait in files.
Model Shrink(const Model& model, const Plan& plan, int64_t memory = kUnlimited);

// Units of every sub-layer, as ValidatePlan() wants them.
std::vector<int64_t> UnitCounts(const ModelSpec& spec);

}  // namespace coppice
