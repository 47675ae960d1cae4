#include "search/level_search.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace coppice {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int64_t kBins = 20000;

// best[b]: least loss of the sub-layers so far with b bins.
struct Row {
  std::vector<double> best;
  std::vector<uint16_t> level;  // of the last sub-layer
};

Row NextRow(const std::vector<double>& before, const Levels& levels, int64_t bin) {
  Row row{std::vector<double>(before.size(), kNever), std::vector<uint16_t>(before.size(), 0)};
  for (size_t k = 0; k < levels.size(); ++k) {
    const auto bins = static_cast<size_t>((levels[k].cost + bin - 1) / bin);
    for (size_t b = bins; b < before.size(); ++b) {
      const double loss = before[b - bins] + levels[k].loss;
      if (loss >= row.best[b]) continue;
      row.best[b] = loss;
      row.level[b] = static_cast<uint16_t>(k);
    }
  }
  return row;
}

// Spends what is left of the budget, the steepest step first.
void Fill(const std::vector<Levels>& table, int64_t limit, LevelChoice* choice) {
  while (true) {
    size_t where = table.size();
    size_t level = 0;
    double slope = 0;
    for (size_t i = 0; i < table.size(); ++i) {
      const Level& now = table[i][choice->level[i]];
      for (size_t k = choice->level[i] + 1; k < table[i].size(); ++k) {
        const int64_t more = table[i][k].cost - now.cost;
        if (more > limit - choice->cost) break;
        const double gain =
            (now.loss - table[i][k].loss) / static_cast<double>(std::max<int64_t>(1, more));
        if (gain <= slope) continue;
        slope = gain;
        where = i;
        level = k;
      }
    }
    if (where == table.size()) return;
    choice->cost += table[where][level].cost - table[where][choice->level[where]].cost;
    choice->loss += table[where][level].loss - table[where][choice->level[where]].loss;
    choice->level[where] = level;
  }
}

// The programme for every limit up to one.
struct Solved {
  int64_t bin = 1;
  std::vector<Row> rows;  // of each sub-layer
};

Solved Solve(const std::vector<Levels>& table, int64_t limit) {
  Solved solved;
  solved.bin = std::max<int64_t>(1, (limit + kBins - 1) / kBins);
  std::vector<double> best(static_cast<size_t>(limit / solved.bin + 1), 0);
  for (const Levels& levels : table) {
    Check(!levels.empty() && levels.size() <= std::numeric_limits<uint16_t>::max(),
          "a bad level table");
    solved.rows.push_back(NextRow(best, levels, solved.bin));
    best = solved.rows.back().best;
  }
  return solved;
}

LevelChoice ChoiceAt(const std::vector<Levels>& table, const Solved& solved, int64_t limit) {
  LevelChoice choice;
  auto b = static_cast<size_t>(limit / solved.bin);
  if (!table.empty() && solved.rows.back().best[b] == kNever) return choice;
  choice.level.resize(table.size());
  for (size_t i = table.size(); i-- > 0;) {
    const size_t k = solved.rows[i].level[b];
    const Level& level = table[i][k];
    choice.level[i] = k;
    choice.loss += level.loss;
    choice.cost += level.cost;
    b -= static_cast<size_t>((level.cost + solved.bin - 1) / solved.bin);
  }
  Fill(table, limit, &choice);
  return choice;
}

}  // namespace

Levels InOrder(Levels levels) {
  // Of equal costs the better first; of equal losses the wider last, so that whole sub-layers stay.
  std::stable_sort(levels.begin(), levels.end(), [](const Level& a, const Level& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  Levels ordered;
  for (const Level& level : levels) {
    if (ordered.empty() || level.loss < ordered.back().loss) ordered.push_back(level);
  }
  return ordered;
}

LevelChoice ChooseLevels(const std::vector<Levels>& table, int64_t limit) {
  if (limit < 0) return {};
  return ChoiceAt(table, Solve(table, limit), limit);
}

LevelChoice LargestChoice(const std::vector<Levels>& table,
                          const std::function<bool(const LevelChoice&)>& accepted) {
  int64_t everything = 0;
  for (const Levels& levels : table) everything += levels.empty() ? 0 : levels.back().cost;
  const Solved solved = Solve(table, everything);
  for (int64_t limit = everything; limit >= 0; limit -= solved.bin) {
    LevelChoice choice = ChoiceAt(table, solved, limit);
    if (choice.level.empty() || accepted(choice)) return choice;
  }
  return {};
}

}  // namespace coppice
