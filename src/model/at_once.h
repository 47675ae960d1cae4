// Pieces of work on the CPU's threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "model/network.h"

namespace coppice {

// Runs work(0), ..., work(count - 1). On the CPU as many at once as there are threads, each on one
// of them: products take as long as on all threads together, and what stands between them, most of
// which LibTorch does on one thread, takes place beside them. On a GPU one after the other. What
// work() throws is thrown again; it is to touch nothing of another's but what it only reads.
void ForEachAtOnce(const Compute& compute, int64_t count, const std::function<void(int64_t)>& work);

// How many that is.
int64_t AtOnce(const Compute& compute);

// Makes make(0), ..., make(count - 1), `at_once` of them as ForEachAtOnce() does, then hands each
// to take(k, made), in order and with all threads: what is made needs no sums of its own.
template <typename Make, typename Take>
void InRounds(const Compute& compute, int64_t count, int64_t at_once, const Make& make,
              const Take& take) {
  using Made = decltype(make(int64_t{0}));
  for (int64_t first = 0; first < count; first += at_once) {
    std::vector<std::optional<Made>> round(static_cast<size_t>(std::min(at_once, count - first)));
    ForEachAtOnce(compute, static_cast<int64_t>(round.size()),
                  [&](int64_t k) { round[static_cast<size_t>(k)].emplace(make(first + k)); });
    for (size_t k = 0; k < round.size(); ++k)
      take(first + static_cast<int64_t>(k), std::move(*round[k]));
  }
}

}  // namespace coppice
