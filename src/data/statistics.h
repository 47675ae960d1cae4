// Metrics of classification and regression: accuracy, and Spearman's rank correlation.
#pragma once

#include <cstdint>
#include <span>

namespace coppice {

// The share of predictions that equal the gold class; 0 for no predictions. Lists of equal length.
double Accuracy(std::span<const int64_t> predicted, std::span<const int64_t> gold);

// Pearson's correlation of the ranks of `a` and `b`, equal values sharing their mean rank; lists of
// equal length. 0 where a list is constant or shorter than 2: it then orders nothing, and a number
// can be compared and written where the undefined 0/0 cannot. NaN if any value is NaN.
double Spearman(std::span<const double> a, std::span<const double> b);

}  // namespace coppice
