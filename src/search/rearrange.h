// Exchanges kept and dropped units inside each sub-layer, counts fixed: Kwon et al. 2022,
// section 4.3.
//
// The diagonal search ignores that units stand in for each other. With J the (rows, units) mask
// gradients and u the indicator of the dropped units, the block objective is u' (J'J) u: the
// squared sum, per row, of what the dropped units change together.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/plan.h"

namespace coppice {

enum class RearrangeRules {
  kExact,      // best swaps until none lowers the objective
  kPublished,  // one greedy pass, ascending diagonal
};

struct RearrangeResult {
  Plan plan;
  int64_t swaps = 0;  // units exchanged
  double before = 0;  // objective, sum over the sub-layers
  double after = 0;
};

// gradients: of each sub-layer, (rows, units) float32.
RearrangeResult Rearrange(const Plan& plan, const std::vector<at::Tensor>& gradients,
                          RearrangeRules rules);

}  // namespace coppice
