#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"

namespace coppice {
namespace {

bool HasNan(std::span<const double> values) {
  return std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); });
}

// Ranks from 1, less their mean; equal values share the mean of their ranks.
std::vector<double> CenteredRanks(std::span<const double> values) {
  const size_t count = values.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  const double mean = (static_cast<double>(count) + 1) / 2;
  std::vector<double> ranks(count);
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && values[order[end]] == values[order[begin]]) ++end;
    const double rank = static_cast<double>(begin + 1 + end) / 2;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = rank - mean;
  }
  return ranks;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

double Accuracy(std::span<const int64_t> predicted, std::span<const int64_t> gold) {
  Check(predicted.size() == gold.size(), "one prediction a label");
  if (gold.empty()) return 0;
  int64_t right = 0;
  for (size_t i = 0; i < gold.size(); ++i) right += predicted[i] == gold[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(gold.size());
}

double Spearman(std::span<const double> a, std::span<const double> b) {
  Check(a.size() == b.size(), "lists of equal length");
  if (HasNan(a) || HasNan(b)) return std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> ranks_a = CenteredRanks(a);
  const std::vector<double> ranks_b = CenteredRanks(b);
  const double scale = std::sqrt(Dot(ranks_a, ranks_a)) * std::sqrt(Dot(ranks_b, ranks_b));
  return scale == 0 ? 0 : Dot(ranks_a, ranks_b) / scale;
}

}  // namespace coppice
