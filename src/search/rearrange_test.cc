// Rearrangement against objectives computed straight from the gradients, |sum of dropped
// columns|^2.
#include "search/rearrange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/random.h"
#include "testdata.h"

namespace coppice {
namespace {

using Units = std::vector<int64_t>;

// (rows, units) in float64, rounded to float32 values.
std::vector<std::vector<double>> RandomRows(int64_t rows, int64_t units, Random* random) {
  std::vector<std::vector<double>> gradients(static_cast<size_t>(rows));
  for (auto& row : gradients) {
    row.reserve(static_cast<size_t>(units));
    for (int64_t unit = 0; unit < units; ++unit)
      row.push_back(static_cast<float>(random->Normal() * (1 + 0.3 * static_cast<double>(unit))));
  }
  return gradients;
}

at::Tensor AsTensor(const std::vector<std::vector<double>>& rows) {
  std::vector<at::Tensor> parts;
  parts.reserve(rows.size());
  for (const auto& row : rows) parts.push_back(at::tensor(row, at::kFloat));
  return at::stack(parts);
}

double Objective(const std::vector<std::vector<double>>& gradients, const Units& dropped) {
  double sum = 0;
  for (const auto& row : gradients) {
    double change = 0;
    for (const int64_t unit : dropped) change += row[static_cast<size_t>(unit)];
    sum += change * change;
  }
  return sum;
}

Units Others(const Units& some, int64_t units) {
  Units others;
  for (int64_t unit = 0; unit < units; ++unit) {
    if (std::find(some.begin(), some.end(), unit) == some.end()) others.push_back(unit);
  }
  return others;
}

// Smallest objective over all dropped sets of this size.
double BestByForce(const std::vector<std::vector<double>>& gradients, int64_t units, int count) {
  double best = INFINITY;
  for (unsigned bits = 0; bits < (1u << units); ++bits) {
    if (std::popcount(bits) != count) continue;
    Units dropped;
    for (int64_t unit = 0; unit < units; ++unit) {
      if (bits >> unit & 1) dropped.push_back(unit);
    }
    best = std::min(best, Objective(gradients, dropped));
  }
  return best;
}

// Largest gain of exchanging one dropped unit for a kept one.
double BestSwap(const std::vector<std::vector<double>>& gradients, const Units& kept,
                int64_t units) {
  const Units dropped = Others(kept, units);
  const double present = Objective(gradients, dropped);
  double gain = 0;
  for (size_t i = 0; i < dropped.size(); ++i) {
    for (const int64_t unit : kept) {
      Units changed = dropped;
      changed[i] = unit;
      gain = std::max(gain, present - Objective(gradients, changed));
    }
  }
  return gain;
}

TEST(Rearrange, ExactSwapsEndWhereNoSwapHelps) {
  constexpr int64_t kUnits = 9;
  int optimal = 0, runs = 0, swapped = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto gradients = RandomRows(5, kUnits, &random);
    const int64_t count = 1 + random.Below(kUnits - 1);
    Units kept = DrawIndices(kUnits, count, false, &random);
    std::sort(kept.begin(), kept.end());
    const RearrangeResult result =
        Rearrange({{kept}}, {AsTensor(gradients)}, RearrangeRules::kExact);
    const Units& found = result.plan.kept.at(0);
    ASSERT_EQ(found.size(), kept.size());
    ASSERT_NO_THROW(ValidatePlan(result.plan, {kUnits}, "plan"));
    const double before = Objective(gradients, Others(kept, kUnits));
    const double after = Objective(gradients, Others(found, kUnits));
    EXPECT_NEAR(result.before, before, 1e-5 * before);
    EXPECT_NEAR(result.after, after, 1e-5 * before);
    EXPECT_LE(after, before);
    double own = 0;  // what rounding is relative to
    for (int64_t unit = 0; unit < kUnits; ++unit) own += Objective(gradients, {unit});
    EXPECT_LE(BestSwap(gradients, found, kUnits), 1e-6 * own);
    EXPECT_EQ(result.swaps == 0, found == kept);
    const double best = BestByForce(gradients, kUnits, static_cast<int>(kUnits - count));
    ++runs;
    swapped += result.swaps > 0;
    optimal += after <= best + 1e-5 * before;
  }
  EXPECT_GT(swapped, runs / 2);
  EXPECT_GT(optimal, runs / 3);  // a local optimum is often the best one
}

// The published pass written out again: lowest own scores first, then add one and drop the worst.
Units PublishedByHand(const std::vector<std::vector<double>>& gradients, int64_t units,
                      size_t count) {
  Units order;
  for (int64_t unit = 0; unit < units; ++unit) order.push_back(unit);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return Objective(gradients, {a}) < Objective(gradients, {b});
  });
  Units dropped(order.begin(), order.begin() + static_cast<int64_t>(count));
  for (size_t next = count; next < order.size(); ++next) {
    dropped.push_back(order[next]);
    size_t leaves = 0;
    double best = INFINITY;
    for (size_t i = 0; i < dropped.size(); ++i) {
      Units without = dropped;
      without.erase(without.begin() + static_cast<int64_t>(i));
      const double objective = Objective(gradients, without);
      if (objective < best) {
        best = objective;
        leaves = i;
      }
    }
    dropped.erase(dropped.begin() + static_cast<int64_t>(leaves));
  }
  return Others(dropped, units);
}

TEST(Rearrange, PublishedPassIsTheGreedyOne) {
  constexpr int64_t kUnits = 10;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    Random random(100 + seed);
    const auto gradients = RandomRows(6, kUnits, &random);
    const auto count = static_cast<size_t>(1 + random.Below(kUnits - 1));  // dropped
    // The pass starts from the lowest scores, whatever the plan dropped.
    Units kept = DrawIndices(kUnits, kUnits - static_cast<int64_t>(count), false, &random);
    std::sort(kept.begin(), kept.end());
    const RearrangeResult result =
        Rearrange({{kept}}, {AsTensor(gradients)}, RearrangeRules::kPublished);
    EXPECT_EQ(result.plan.kept.at(0), PublishedByHand(gradients, kUnits, count));
    const double after = Objective(gradients, Others(result.plan.kept[0], kUnits));
    EXPECT_NEAR(result.after, after, 1e-5 * result.before);
  }
}

TEST(Rearrange, LeavesFullAndEmptySubLayersAlone) {
  Random random(7);
  const at::Tensor gradients = AsTensor(RandomRows(4, 3, &random));
  for (const RearrangeRules rules : {RearrangeRules::kExact, RearrangeRules::kPublished}) {
    const Plan plan = {{{}, {0, 1, 2}, {1}}};
    const RearrangeResult result = Rearrange(plan, {gradients, gradients, gradients}, rules);
    EXPECT_EQ(result.plan.kept[0], plan.kept[0]);
    EXPECT_EQ(result.plan.kept[1], plan.kept[1]);
    EXPECT_EQ(result.plan.kept[2].size(), 1u);
  }
}

// Dead units and units that cancel each other: rounding decides the sign of every change.
TEST(Rearrange, EndsWhereNothingIsToBeGained) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Random random(300 + seed);
    auto gradients = RandomRows(16, 8, &random);
    for (auto& row : gradients) {
      row[2] = static_cast<float>(-(row[0] + row[1]));
      row[3] = row[4] = 0;
      row[6] = row[5];
    }
    const Plan plan = {{{4, 6, 7}}};
    const RearrangeResult result = Rearrange(plan, {AsTensor(gradients)}, RearrangeRules::kExact);
    EXPECT_EQ(result.plan.kept[0].size(), 3u);
    const Plan cancelling = {{{4, 5, 6, 7}}};  // dropped: 0, 1, 2, 3
    EXPECT_EQ(
        Rearrange(cancelling, {AsTensor(gradients)}, RearrangeRules::kExact).plan.kept[0].size(),
        4u);
  }
}

}  // namespace
}  // namespace coppice
