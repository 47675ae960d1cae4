// One width for every sub-layer at once under a budget: a multiple-choice knapsack, solved by
// dynamic programming. The table of levels answers every budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/plan.h"

namespace coppice {

// A width that a sub-layer may have.
struct Level {
  int64_t units = 0;
  double loss = 0;  // what keeping no more costs, nats
  int64_t cost = 0;
  HeadShape shape = {};  // of narrower heads
};

// Of one sub-layer, costs ascending and losses falling; the last is the whole sub-layer.
using Levels = std::vector<Level>;

// The levels in that order, without those that cost no less than a better one.
Levels InOrder(Levels levels);

struct LevelChoice {
  std::vector<size_t> level;  // of each sub-layer
  double loss = 0;            // sum
  int64_t cost = 0;           // sum
};

// The levels of least total loss whose costs add up to `limit` at most. Costs are counted in bins
// of limit / 20000, rounded up, so the choice never exceeds the limit; what rounding leaves over is
// spent afterwards, where it lowers the loss most. Nothing is chosen (no levels) when not even the
// cheapest fit.
LevelChoice ChooseLevels(const std::vector<Levels>& table, int64_t limit);

// The same at the largest limit whose choice is accepted, of those from the cost of everything
// down, a 20000th of it apart. All come from one table. Nothing is chosen where none is accepted.
LevelChoice LargestChoice(const std::vector<Levels>& table,
                          const std::function<bool(const LevelChoice&)>& accepted);

}  // namespace coppice
