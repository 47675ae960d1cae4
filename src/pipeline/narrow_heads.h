// Whether heads may be narrowed inside: what was asked for, what the forms that are written hold,
// and what the budget can count.
#pragma once

#include <string>
#include <vector>

#include "core/plan.h"
#include "model/model.h"
#include "pipeline/head_levels.h"
#include "pipeline/prune.h"

namespace coppice {

struct HeadNarrowing {
  HeadParts parts;
  std::string reason;  // why not, though it was asked for; empty if it is
};

HeadNarrowing Narrowing(const Model& model, const PruneOptions& options);

// Throws Error (kUsage) for a plan that narrows heads where a form or the method cannot hold
// them.
void RequireNarrowHeads(const Plan& plan, const Model& model, const PruneOptions& options);

// The forms that a prune writes: those asked for, or the input's own.
std::vector<std::string> FormsOf(const Model& model, const PruneOptions& options);

}  // namespace coppice
